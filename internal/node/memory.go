package node

import (
	"log/slog"
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/keeper"
	"github.com/dsvault/dsv/internal/store"
)

// Memory stands in for the data directory of a node that writes no file: its
// store and the check of its root key live in it, across restarts of the node
// in one process. The zero Memory is an empty directory; Close drops all.
type Memory struct {
	mu    sync.Mutex
	store store.Store
	check *keeper.Check
}

// Close drops what is in m. The node that uses it is closed first.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.store
	m.store, m.check = nil, nil
	if s == nil {
		return nil
	}
	return s.Close()
}

func (m *Memory) obtainOptions() keeper.ObtainOptions {
	m.mu.Lock()
	defer m.mu.Unlock()
	return keeper.ObtainOptions{NewDirectory: m.store == nil, Known: m.check}
}

func (m *Memory) remember(c keeper.Check) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.check = &c
}

func (m *Memory) open(string, dsv.Secret, Config, *slog.Logger) (OpenedStore, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.store == nil {
		m.store = store.OpenMemory(store.Options{})
	}
	return OpenedStore{Store: unclosed{m.store}, Clean: true}, nil
}

// unclosed leaves a store in memory open when its node closes.
type unclosed struct{ store.Store }

func (unclosed) Close() error { return nil }

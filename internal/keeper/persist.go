package keeper

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/dsvault/dsv"
)

const persistSuffix = ".share"

// persistTo loads the shares that lie in dir onto s and makes s write every
// later one there. A file is the generation in eight bytes and the share. For
// `dsvnode dev` alone: see ServerConfig.InsecurePersistDir.
func (s *shelf) persistTo(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), persistSuffix)
		if !ok {
			continue
		}
		if err := s.load(name, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	s.persist = func(node dsv.NodeID, generation uint64, body []byte) error {
		b := append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+MaxShare), generation), body...)
		defer clear(b)
		return renameio.WriteFile(filepath.Join(dir, string(node)+persistSuffix), b, 0o600)
	}
	return nil
}

func (s *shelf) load(name, path string) error {
	node, err := dsv.ParseNodeID(name)
	if err != nil {
		return fmt.Errorf("keeper: %s: the name is not a node's", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	defer clear(b)
	if len(b) <= 8 || len(b) > 8+MaxShare || binary.BigEndian.Uint64(b) == 0 {
		return fmt.Errorf("keeper: %s is damaged", path)
	}
	if _, err := s.put(node, binary.BigEndian.Uint64(b), nil, b[8:]); err != nil {
		return fmt.Errorf("keeper: %s: %w", path, err)
	}
	return nil
}

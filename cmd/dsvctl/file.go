package main

import (
	"github.com/google/renameio/v2"
)

// writeFile replaces a file whole, or leaves it as it was: 0600, synced.
func writeFile(path string, b []byte) error {
	if err := renameio.WriteFile(path, b, 0o600, renameio.IgnoreUmask()); err != nil {
		return usage(err.Error())
	}
	return nil
}

// pending is a file that is ready to take its name.
type pending struct{ f *renameio.PendingFile }

// prepare writes b beside path, with the mode of the file there if keep, else
// 0600. Nothing is replaced before commit.
func prepare(path string, b []byte, keep bool) (*pending, error) {
	options := []renameio.Option{renameio.WithPermissions(0o600), renameio.IgnoreUmask()}
	if keep {
		options = []renameio.Option{renameio.WithExistingPermissions()}
	}
	f, err := renameio.NewPendingFile(path, options...)
	if err != nil {
		return nil, usage(err.Error())
	}
	if _, err := f.Write(b); err != nil {
		_ = f.Cleanup()
		return nil, usage(err.Error())
	}
	return &pending{f}, nil
}

func (p *pending) commit() error {
	if p == nil {
		return nil
	}
	if err := p.f.CloseAtomicallyReplace(); err != nil {
		return usage(err.Error())
	}
	return nil
}

// drop forgets a file that was not committed.
func (p *pending) drop() {
	if p != nil {
		_ = p.f.Cleanup()
	}
}

//go:build !linux

package store

import "os"

// ownSync: Badger syncs at every commit, CommitNoSync's as well. Elsewhere a
// sync of a file need not cover what another memory map of it holds.
const ownSync = false

func fdatasync(f *os.File) error { return f.Sync() }

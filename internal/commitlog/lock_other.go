//go:build !unix

package commitlog

import (
	"fmt"
	"os"
)

// lockDir makes dir if it is missing; it cannot keep other processes out here.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("commitlog: %w", err)
	}
	return func() {}, nil
}

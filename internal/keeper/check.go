package keeper

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"

	"github.com/dsvault/dsv"
)

// Check tells one root key from all others without giving it away: the
// generation and the key check value. A node keeps it beside its directory.
type Check struct {
	Generation uint64
	Value      [32]byte
}

const checkLabel = "dsv root key check 1"

// checkOf is the key check value of a root key: HMAC-SHA256 under the key of
// a label and of all that the key is bound to.
func checkOf(key []byte, cluster string, node dsv.NodeID, generation uint64) [32]byte {
	msg := append(make([]byte, 0, 512), checkLabel...)
	msg = binary.BigEndian.AppendUint64(msg, generation)
	msg = append(append(msg, byte(len(cluster))), cluster...)
	msg = append(append(msg, byte(len(node))), node...)
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(msg)
	return [32]byte(mac.Sum(nil))
}

const checkWord = "dsv-root-check-1"

// line is the one line of a check file.
func (c Check) line() []byte {
	text := fmt.Sprintf("%s %d %x", checkWord, c.Generation, c.Value)
	sum := sha256.Sum256([]byte(text))
	return fmt.Appendf(nil, "%s %x\n", text, sum[:4])
}

// WriteCheck writes c to a file of mode 0600, whole or not at all, and returns
// when it is on disk.
func WriteCheck(path string, c Check) error {
	if c.Generation == 0 {
		return fmt.Errorf("keeper: write %s: no generation", path)
	}
	if err := renameio.WriteFile(path, c.line(), 0o600); err != nil {
		return fmt.Errorf("keeper: write %s: %w", path, err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("keeper: write %s: %w", path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("keeper: write %s: %w", path, err)
	}
	return nil
}

// ReadCheck reads what WriteCheck wrote. A file that is not there is
// fs.ErrNotExist; one that is damaged is an error of its own, never a guess.
func ReadCheck(path string) (Check, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Check{}, fmt.Errorf("keeper: %w", err)
	}
	c, ok := parseCheck(b)
	if !ok {
		return Check{}, fmt.Errorf("keeper: %s is damaged: it is not a root key check; remove it and start again: a wrong key shows when the store is opened", path)
	}
	return c, nil
}

func parseCheck(b []byte) (Check, bool) {
	f := bytes.Split(b, []byte(" "))
	if len(b) > 256 || len(f) != 4 {
		return Check{}, false
	}
	var c Check
	var err error
	if c.Generation, err = strconv.ParseUint(string(f[1]), 10, 64); err != nil || c.Generation == 0 {
		return Check{}, false
	}
	if n, err := hex.Decode(c.Value[:], f[2][:min(len(f[2]), 64)]); err != nil || n != len(c.Value) {
		return Check{}, false
	}
	return c, bytes.Equal(c.line(), b)
}

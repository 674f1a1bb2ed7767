package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binDir is where built put the commands; TestMain removes it.
var binDir string

// built builds dsvnode and dsvctl of this tree, once per run of the tests, and
// returns their folder.
var built = sync.OnceValues(func() (string, error) {
	var err error
	if binDir, err = os.MkdirTemp("", "dsv-bin-"); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", binDir+string(filepath.Separator), "../cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binDir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binDir != "" {
		_ = os.RemoveAll(binDir)
	}
	os.Exit(code)
}

// command runs one of our commands to its end and returns all it said.
func command(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, name), args...).CombinedOutput()
	return string(out), err
}

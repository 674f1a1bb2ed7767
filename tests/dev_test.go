package tests

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDevInMemoryWritesNoFile: `dsvnode dev --memory` runs a whole cluster, and
// its exports, pasted into a shell, let dsvctl create and read a secret there,
// without one file or folder made anywhere a process looks for a place to
// write.
func TestDevInMemoryWritesNoFile(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	env := []string{"PATH=" + os.Getenv("PATH")}
	for _, name := range []string{"PWD", "TMPDIR", "HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"} {
		dir := filepath.Join(empty, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+dir)
	}
	before := entries(t, empty)
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "dsvnode"), "dev", "--memory", "--port", "0")
	cmd.Dir, cmd.Env = filepath.Join(empty, "PWD"), env
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exports := untilLine(t, bufio.NewScanner(out), "# dsvctl status", &said)
	if !strings.Contains(exports, "export DSV_TOKEN=") || !strings.Contains(exports, "export DSV_CA_PEM=") {
		t.Errorf("the exports lack the token or the CA:\n%s", exports)
	}
	if open := regularFiles(t, cmd.Process.Pid); len(open) > 0 {
		t.Errorf("has files open: %q", open)
	}
	const value = "kept-in-memory"
	sh := exec.CommandContext(t.Context(), "sh", "-ec", exports+"\nprintf %s \"$VALUE\" | dsvctl secret create -n team-a/app DB -\ndsvctl secret get -n team-a/app DB\n")
	sh.Dir, sh.Env = cmd.Dir, append(slices.Clone(env), "VALUE="+value, "PATH="+bin+":"+os.Getenv("PATH"))
	if got, err := sh.CombinedOutput(); err != nil || !strings.Contains(string(got), value) {
		t.Errorf("dsvctl: %v\n%s", err, got)
	}
	if now := entries(t, empty); !slices.Equal(before, now) {
		t.Errorf("while it runs there is %q, before %q", now, before)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &said)
	}
	if now := entries(t, empty); !slices.Equal(before, now) {
		t.Errorf("it left %q, before %q", now, before)
	}
}

// untilLine is all output up to a line that begins with last.
func untilLine(t *testing.T, lines *bufio.Scanner, last string, said *bytes.Buffer) string {
	t.Helper()
	var all strings.Builder
	for lines.Scan() {
		all.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), last) {
			return all.String()
		}
	}
	t.Fatalf("ended before %q:\n%s%s", last, &all, said)
	return ""
}

func entries(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// regularFiles are the files that a process has open. A process without core
// files shows them to root alone: to others there are none to see.
func regularFiles(t *testing.T, pid int) (open []string) {
	t.Helper()
	fds, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && filepath.IsAbs(to) && !strings.HasPrefix(to, "/dev/") && !strings.HasPrefix(to, "/sys/") {
			open = append(open, to)
		}
	}
	return open
}

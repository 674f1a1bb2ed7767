package secrecy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
)

// TestNoCoreFiles: every process has ruled out core files for itself.
func TestNoCoreFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	h := theHouse(t)
	limits := func(pid int) string {
		return string(must[[]byte](t)(os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")))
	}
	none := regexp.MustCompile(`(?m)^Max core file size +0 +0 `)
	for i := range h.Nodes() {
		if l := limits(h.Node(i).PID()); !none.MatchString(l) {
			t.Errorf("%s may leave a core file:\n%s", h.NodeID(i), l)
		}
	}
	for i := range h.Keepers() {
		if l := limits(h.Keeper(i).PID()); !none.MatchString(l) {
			t.Errorf("keeper %d may leave a core file:\n%s", i, l)
		}
	}
	if none.MatchString(limits(os.Getpid())) {
		t.Error("this process may leave none either: the test shows nothing")
	}
}

// TestNotDumpable: a node and a keeper are not dumpable (PR_SET_DUMPABLE 0):
// nobody but root attaches to them or reads their memory. It shows in whom the
// files of /proc/PID belong to, for a process that is not root's; so where the
// test runs as root, it starts them as somebody else.
func TestNotDumpable(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	h := theHouse(t)
	dir, cred := lowly(t)
	top := setup.Topology{Cluster: "lowly", Brokers: []string{"127.0.0.1:1"}, BrokerTLS: true, Quorum: node.QuorumConfig{N: 3, K: 2, W: 3}}
	for i, id := range []dsv.NodeID{"n1", "n2", "n3"} {
		top.Nodes = append(top.Nodes, setup.Node{ID: id, Host: "127.0.0.1", Ports: setup.Ports{API: 2 + 3*i}})
	}
	for i, id := range []dsv.NodeID{"k1", "k2", "k3"} {
		top.Keepers = append(top.Keepers, setup.Keeper{ID: id, Host: "127.0.0.1", Port: 20 + i})
	}
	if err := setup.Run(t.Context(), setup.Options{Dir: filepath.Join(dir, "c"), Topology: top, Offline: true}, new(bytes.Buffer)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dsvnode"), must[[]byte](t)(os.ReadFile(filepath.Join(h.bin, "dsvnode"))), 0o700); err != nil {
		t.Fatal(err)
	}
	own(t, dir, cred)
	lay := setup.Layout{Dir: filepath.Join(dir, "c")}
	k := setup.Identity(lay.Keeper("k1"))
	for what, args := range map[string][]string{
		"a keeper": {filepath.Join(dir, "dsvnode"), "keeper", "--listen", "127.0.0.1:0", "--ca", k.CA, "--cert", k.Cert, "--key", k.Key},
		"a node":   {filepath.Join(dir, "dsvnode"), "serve", "--config", lay.NodeConfig("n1")},
	} {
		cmd := as(t, cred, dir, args...)
		eventually(t, what, func() error {
			own, err := owner(cmd.Process.Pid)
			if err == nil && own != 0 {
				err = fmt.Errorf("its memory belongs to user %d", own)
			}
			return err
		})
	}
	other := as(t, cred, dir, "sleep", "100")
	eventually(t, "a process that does nothing about it", func() error {
		own, err := owner(other.Process.Pid)
		if want := cred.Uid; err == nil && own != want {
			err = fmt.Errorf("its memory belongs to %d, not to %d: the test shows nothing", own, want)
		}
		return err
	})
}

// as starts a process that ends with the test.
func as(t *testing.T, cred *syscall.Credential, dir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DSV_API_LISTEN=127.0.0.1:0", "DSV_PEER_LISTEN=127.0.0.1:0", "DSV_GOSSIP_LISTEN=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd
}

// owner is whom the memory of a process belongs to.
func owner(pid int) (uint32, error) {
	st, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/mem")
	if err != nil {
		return 0, err
	}
	return st.Sys().(*syscall.Stat_t).Uid, nil
}

// lowly is a folder and the credentials of somebody who is not root: the test's
// own, if that is not root.
func lowly(t *testing.T) (string, *syscall.Credential) {
	t.Helper()
	if os.Geteuid() != 0 {
		return t.TempDir(), &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()), NoSetGroups: true}
	}
	const nobody = 65534
	dir := must[string](t)(os.MkdirTemp("", "dsv-lowly-")) // t.TempDir lies in folders of root's
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir, &syscall.Credential{Uid: nobody, Gid: nobody}
}

func own(t *testing.T, dir string, cred *syscall.Credential) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chown(p, int(cred.Uid), int(cred.Gid)))
	})
	if err != nil {
		t.Fatal(err)
	}
}

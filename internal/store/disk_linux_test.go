package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// loopDir is where TestPowerCutOfADisk makes its disk, if it is to run: it needs
// root and loop devices, and 600 MB.
const loopDir = "STORE_LOOP_DIR"

// The power of a real disk goes: an ext4 on a loop device, whose image is copied
// while a process writes to it. What the kernel had not written to the device is
// not in the copy. Each acknowledged commit is, and no part of one.
func TestPowerCutOfADisk(t *testing.T) {
	base := os.Getenv(loopDir)
	if base == "" {
		t.Skip(loopDir + " is not set")
	}
	for round := range 8 {
		t.Run(fmt.Sprint(round), func(t *testing.T) { cutDisk(t, base, time.Duration(400+round*450)*time.Millisecond) })
	}
}

func cutDisk(t *testing.T, base string, after time.Duration) {
	work, err := os.MkdirTemp(base, "")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(work)) })
	disk, cut := filepath.Join(work, "disk"), filepath.Join(work, "cut")
	at := filepath.Join(work, "mnt")
	must(t, os.Mkdir(at, 0o700))
	run(t, "truncate", "-s", "600M", disk)
	run(t, "mkfs.ext4", "-q", "-F", disk)
	unmount := mount(t, disk, at)

	cmd, lines := startChild(t, filepath.Join(at, "store"))
	acked := map[string]uint64{}
	for end := time.Now().Add(after); time.Now().Before(end) && lines.Scan(); {
		noteAck(t, lines.Text(), acked)
	}
	run(t, "cp", "--sparse=always", disk, cut)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	unmount()

	mount(t, cut, at)
	s := openTest(t, filepath.Join(at, "store"), Options{Watched: watched("n:"), memTable: 1 << 20})
	t.Cleanup(func() { must(t, s.Close()) }) // before it is unmounted
	checkAfterKill(t, s, acked)
	t.Logf("%d commits were acknowledged", len(acked))
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v %s", name, args, err, out)
	}
}

func mount(t *testing.T, disk, at string) (unmount func()) {
	t.Helper()
	run(t, "mount", "-o", "loop", disk, at)
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			run(t, "umount", at)
		}
	}
	t.Cleanup(unmount)
	return unmount
}

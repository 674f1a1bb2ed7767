package setup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dsvault/dsv"
)

// Options say what Run does.
type Options struct {
	// Dir is the directory of the cluster; made if it is missing.
	Dir string
	// Topology may be zero when Dir has one already.
	Topology Topology
	// Offline leaves the log alone: no topics, no CONFIG, no token.
	Offline bool
	// Timeout bounds the work on the log; default one minute.
	Timeout time.Duration
	// Dial reaches the brokers; nil is the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger of the log's client; nil is silent.
	Logger *slog.Logger
}

// DefaultTimeout bounds the work on the log.
const DefaultTimeout = time.Minute

// Run makes the cluster, or goes on where a run before stopped, and tells out
// what it made, a line each. It can be repeated; two at once on one directory
// do not disturb each other, the second is refused.
//
// Errors: KindInvalid for a topology with faults; KindConflict when the
// directory or the log is another cluster's or says something else;
// KindUnavailable when the brokers could not be reached in time. What was made
// before an error stays, and the next run goes on from there.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	r := &run{Options: o, lay: Layout{o.Dir}, out: out}
	if err := r.begin(); err != nil {
		return err
	}
	defer r.unlock()
	if err := r.files(); err != nil {
		return err
	}
	if o.Offline {
		r.say("offline: the log was left alone; run init again without --offline when the brokers are up, before any node starts")
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	return r.log(ctx)
}

type run struct {
	Options
	lay  Layout
	t    Topology // in force
	lock *os.File
	out  io.Writer
	made int
}

func (r *run) say(format string, a ...any) { _, _ = fmt.Fprintf(r.out, format+"\n", a...) }

// note tells of a file or folder that was made.
func (r *run) note(path string) {
	r.made++
	if rel, err := filepath.Rel(r.Dir, path); err == nil {
		path = rel
	}
	r.say("made  %s", path)
}

// begin makes and locks the directory and settles which topology is in force.
func (r *run) begin() error {
	old, err := readStored(r.lay)
	if err != nil {
		return err
	}
	if old == nil || len(r.Topology.Nodes) > 0 {
		if err := r.Topology.Check(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return local(r.Dir, err)
	}
	if r.lock, err = lockDir(r.Dir); err != nil {
		return err
	}
	if old != nil {
		err = r.goOn(*old)
	} else {
		err = r.beginAnew()
	}
	if err != nil {
		r.unlock()
	}
	return err
}

// goOn takes the stored topology and refuses another one.
func (r *run) goOn(old Topology) error {
	r.t = old
	asked := r.Topology
	if len(asked.Nodes) == 0 {
		return nil
	}
	if asked.ID == "" {
		asked.ID = old.ID
	}
	a, err1 := yaml.Marshal(asked)
	b, err2 := yaml.Marshal(old)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if string(a) != string(b) {
		return conflict(r.lay.Topology(), "says something else than the topology asked for: a cluster's members and quorum are fixed when it is made; leave the topology out to go on with that one, or use another directory")
	}
	return nil
}

func (r *run) beginAnew() error {
	r.t = r.Topology
	if r.t.ID == "" {
		var id [16]byte
		_, _ = rand.Read(id[:])
		r.t.ID = hex.EncodeToString(id[:])
	}
	text, err := yaml.Marshal(r.t)
	if err != nil {
		return err
	}
	head := "# What this cluster is made of. Written by dsvctl init, which goes by it when it is run again.\n"
	if err := writeWhole(r.lay.Topology(), append([]byte(head), text...), 0o600); err != nil {
		return err
	}
	r.note(r.lay.Topology())
	return nil
}

// readStored is the topology in force in a directory, nil without one. A
// directory with other things in it and no topology is refused.
func readStored(l Layout) (*Topology, error) {
	_, err := os.Stat(l.Topology())
	if err == nil {
		t, err := LoadTopology(l.Topology())
		if err != nil {
			return nil, err
		}
		if t.ID == "" {
			return nil, conflict(l.Topology(), "has no cluster id: it was not written by init")
		}
		return &t, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, local(l.Topology(), err)
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, local(l.Dir, err)
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			return nil, conflict(l.Dir, "holds files but no "+topologyFile+": use an empty directory, or that of a cluster made by init")
		}
	}
	return nil, nil
}

const lockFile = ".lock"

// lockDir holds the directory until the file is closed or the process ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, local(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, conflict(dir, "is in use by another init")
	}
	return f, nil
}

func (r *run) unlock() { _ = r.lock.Close() }

func conflict(path, detail string) error {
	return &dsv.Error{Kind: dsv.KindConflict, Code: dsv.CodeExists, Op: "init", Path: path, Detail: detail}
}

func local(path string, err error) error {
	return &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "init", Path: path, Detail: "cannot be used", Err: err}
}

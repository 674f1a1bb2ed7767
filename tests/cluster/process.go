package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is one process of the cluster that can be started again and again.
type Process struct {
	name string
	path string
	args []string
	env  []string
	dir  string
	out  string // its standard error is appended here

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts the process; it must not run.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s runs already", p.name)
	}
	out, err := os.OpenFile(p.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, out, out
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err, p.cmd = err, nil
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

func (p *Process) signal(s syscall.Signal) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil, nil
	}
	return p.done, p.cmd.Process.Signal(s)
}

func (p *Process) end(s syscall.Signal) error {
	done, err := p.signal(s)
	if done != nil {
		<-done
	}
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return err
}

// Kill is kill -9, and waits for the end.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Stop is SIGTERM, and waits for the end.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

// Pause is SIGSTOP, Resume SIGCONT. It returns when every thread stands, which
// on a busy machine is some time after the signal.
func (p *Process) Pause() error {
	done, err := p.signal(syscall.SIGSTOP)
	if err != nil || done == nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for pid := p.PID(); !stands(pid); {
		select {
		case <-done:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// stands reports whether no thread of a process can run.
func stands(pid int) bool {
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil {
		return false
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		if state := bytes.TrimLeft(text[bytes.LastIndexByte(text, ')')+1:], " "); len(state) == 0 || state[0] != 'T' {
			return false
		}
	}
	return true
}

// Resume lets a paused process go on.
func (p *Process) Resume() error { _, err := p.signal(syscall.SIGCONT); return err }

// Running reports whether it runs, also paused.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// PID is its process id, 0 if it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Exited is closed when the process that runs now has ended.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		c := make(chan struct{})
		close(c)
		return c
	}
	return p.done
}

// Output is the end of what it has printed.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.out)
	if err != nil {
		return err.Error()
	}
	const most = 4096
	if len(b) > most {
		b = b[bytes.IndexByte(b[len(b)-most:], '\n')+1+len(b)-most:]
	}
	return string(b)
}

package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const startedLine = "Kafka Server started"

// broker number i, from 1.
func (c *Cluster) broker(i int) (broker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < 1 || i > len(c.state.Brokers) {
		return broker{}, fmt.Errorf("kafka: there is no broker %d", i)
	}
	return c.state.Brokers[i-1], nil
}

// spawn starts the process of broker i. It outlives this one.
func (c *Cluster) spawn(i int) error {
	o := c.state.Options
	out, err := os.Create(c.path(i, "out.log"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	args := append([]string{"-Xmx" + o.Heap, "-XX:+UseSerialGC"}, o.Java...)
	args = append(args, "-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-cp", filepath.Join(o.Libs, "*"), "kafka.Kafka", c.path(i, "server.properties"))
	cmd := exec.Command("java", args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("kafka: start broker %d: %w", i, err)
	}
	go func() { _ = cmd.Wait() }() // no zombie while this process lives
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &c.state.Brokers[i-1]
	b.PID = cmd.Process.Pid
	b.Started, _ = startTime(b.PID)
	return c.save()
}

// await waits until broker i takes requests.
func (c *Cluster) await(ctx context.Context, i int) error {
	b, err := c.broker(i)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		text, _ := os.ReadFile(c.path(i, "out.log"))
		if bytes.Contains(text, []byte(startedLine)) && takes(ctx, b.Plain) {
			return nil
		}
		if !b.alive() {
			return fmt.Errorf("kafka: broker %d ended while starting:\n%s", i, tail(text))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kafka: broker %d is not ready: %w:\n%s", i, ctx.Err(), tail(text))
		case <-tick.C:
		}
	}
}

func takes(ctx context.Context, port int) bool {
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "tcp", loopback(port))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func tail(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// Kill ends broker i at once (SIGKILL) and waits until it is gone.
func (c *Cluster) Kill(i int) error {
	b, err := c.broker(i)
	if err != nil {
		return err
	}
	if err := b.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !b.gone(10 * time.Second) {
		return fmt.Errorf("kafka: broker %d (pid %d) does not end", i, b.PID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Brokers[i-1].PID, c.state.Brokers[i-1].Started = 0, ""
	return c.save()
}

// Restart starts broker i on the data it has, killing it first if it runs, and
// returns when it takes requests.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	b, err := c.broker(i)
	if err != nil {
		return err
	}
	if b.alive() {
		if err := c.Kill(i); err != nil {
			return err
		}
	}
	if err := c.spawn(i); err != nil {
		return err
	}
	return c.await(ctx, i)
}

// Pause stops broker i where it is (SIGSTOP): connections stand, nothing is
// answered. It returns when every thread stands, which on a busy machine is some
// time after the signal.
func (c *Cluster) Pause(i int) error {
	if err := c.send(i, syscall.SIGSTOP); err != nil {
		return err
	}
	b, err := c.broker(i)
	if err != nil {
		return err
	}
	return within(10*time.Second, b.stands, fmt.Sprintf("broker %d does not stop", i))
}

// stands reports whether no thread of the process can run.
func (b broker) stands() bool {
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(b.PID), "task", "*", "stat"))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		if fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]); !bytes.Equal(fields[0], []byte("T")) {
			return false
		}
	}
	return true
}

// within waits for a condition of the operating system, which announces none.
func within(limit time.Duration, cond func() bool, what string) error {
	end := time.Now().Add(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(end) {
			return errors.New("kafka: " + what)
		}
		<-tick.C
	}
	return nil
}

// Resume lets broker i go on.
func (c *Cluster) Resume(i int) error { return c.send(i, syscall.SIGCONT) }

func (c *Cluster) send(i int, sig syscall.Signal) error {
	b, err := c.broker(i)
	if err != nil {
		return err
	}
	if !b.alive() {
		return fmt.Errorf("kafka: broker %d does not run", i)
	}
	return b.signal(sig)
}

// Running reports whether broker i has a process.
func (c *Cluster) Running(i int) bool {
	b, err := c.broker(i)
	return err == nil && b.alive()
}

// startTime is when a process was started, as the kernel counts; "" with an
// error if there is none, or only what is left of one.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return "", errors.New("not running")
	}
	return fields[19], nil
}

// alive reports whether the very process that was started still is there.
func (b broker) alive() bool {
	if b.PID <= 0 {
		return false
	}
	t, err := startTime(b.PID)
	return err == nil && t == b.Started
}

// signal does nothing to a process that is gone.
func (b broker) signal(sig syscall.Signal) error {
	if !b.alive() {
		return nil
	}
	if err := syscall.Kill(b.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kafka: signal pid %d: %w", b.PID, err)
	}
	return nil
}

// terminate asks the process to end, also a paused one.
func (b broker) terminate() {
	_ = b.signal(syscall.SIGTERM)
	_ = b.signal(syscall.SIGCONT)
}

// gone waits until the process is no more.
func (b broker) gone(limit time.Duration) bool {
	return within(limit, func() bool { return !b.alive() }, "") == nil
}

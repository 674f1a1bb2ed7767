package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dsvault/dsv"
)

// delegate is how memberlist asks and tells. Its event methods run under
// memberlist's lock: none of them calls memberlist.
type delegate struct{ g *Gossip }

// NodeMeta is this node's metadata for its alive message.
func (d *delegate) NodeMeta(limit int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.self.append(make([]byte, 0, limit))
}

// NotifyMsg takes a broadcast.
func (d *delegate) NotifyMsg(b []byte) {
	if m, err := parseMessage(b); err != nil {
		d.g.countGarbage(1)
	} else {
		d.g.learn(m)
	}
}

// GetBroadcasts: items are sent to each node directly.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is everything known, this node's own state first.
func (d *delegate) LocalState(bool) []byte {
	g := d.g
	g.mu.Lock()
	defer g.mu.Unlock()
	return appendExchange(nil, func(yield func(message) bool) {
		if !yield(g.own.message(g.cfg.Self, g.self.incarnation)) {
			return
		}
		for id, m := range g.members {
			if !yield(m.items.message(id, m.meta.incarnation)) {
				return
			}
		}
	})
}

// MergeRemoteState takes everything that another node knows.
func (d *delegate) MergeRemoteState(b []byte, _ bool) {
	if n := parseExchange(b, d.g.learn); n > 0 {
		d.g.countGarbage(n)
	}
}

// NotifyAlive refuses nodes whose alive message is none of ours.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	if _, err := dsv.ParseNodeID(n.Name); err != nil {
		d.g.countGarbage(1)
		return fmt.Errorf("its name: %w", err)
	}
	if _, err := parseMeta(n.Meta); err != nil {
		d.g.countGarbage(1)
		return err
	}
	return nil
}

func (d *delegate) NotifyJoin(n *memberlist.Node) {
	if x, err := parseMeta(n.Meta); err == nil {
		d.g.present(dsv.NodeID(n.Name), nodeAddr(n), x)
	}
}

func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

func (d *delegate) NotifyLeave(n *memberlist.Node) {
	d.g.gone(dsv.NodeID(n.Name))
}

func (d *delegate) AckPayload() []byte { return nil }

func (d *delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	d.g.heard(dsv.NodeID(n.Name))
}

// logLines turns memberlist's log lines into records. Warnings and errors are
// mostly about strangers' packets, so at most one a second is told.
type logLines struct {
	log *slog.Logger

	mu      sync.Mutex
	last    time.Time
	dropped int
}

func (l *logLines) Write(b []byte) (int, error) {
	line := string(bytes.TrimSpace(b))
	level := slog.LevelDebug
	for prefix, to := range map[string]slog.Level{"[WARN] ": slog.LevelWarn, "[ERR] ": slog.LevelWarn, "[ERROR] ": slog.LevelWarn, "[INFO] ": slog.LevelInfo, "[DEBUG] ": slog.LevelDebug} {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			line, level = rest, to
			break
		}
	}
	l.write(level, strings.TrimPrefix(line, "memberlist: "))
	return len(b), nil
}

func (l *logLines) write(level slog.Level, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if level < slog.LevelWarn {
		l.log.Log(context.Background(), level, "gossip: "+line)
		return
	}
	if now := time.Now(); now.Sub(l.last) >= time.Second {
		l.log.Warn("gossip: "+line, "dropped", l.dropped)
		l.last, l.dropped = now, 0
	} else {
		l.dropped++
	}
}

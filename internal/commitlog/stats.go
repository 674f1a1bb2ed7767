package commitlog

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/dsvault/dsv"
)

// Stats is what a Log knows of itself and of the brokers, at one moment.
type Stats struct {
	Brokers  []BrokerStats           // by id
	Leaders  map[dsv.Partition]int32 // broker id, -1 if none is known
	Silent   []dsv.Partition         // partitions whose leader is silent
	Diverged map[dsv.Partition]string

	Appended uint64        // records handed over since Open
	Acked    uint64        // of them, acknowledged
	Failed   uint64        // of them, given up with an error
	Waiting  int           // of them, neither
	Oldest   time.Duration // age of the oldest that waits
	Good     bool          // as Good

	Read uint64            // records delivered by Poll
	Void map[string]uint64 // of them, void, by reason
}

// BrokerStats is one broker.
type BrokerStats struct {
	ID    int32
	Addr  string        // host:port
	Quiet time.Duration // since its last answer; negative if it never answered
}

// Stats tells how the Log is doing.
func (l *Log) Stats() Stats {
	s := Stats{Good: l.Good()}
	l.producer.fill(&s)
	l.consumer.fill(&s)
	h := &l.health
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Leaders = make(map[dsv.Partition]int32, len(h.leads))
	for p, lead := range h.leads {
		s.Leaders[p] = lead.broker
		if h.silence(p) >= silentAfter {
			s.Silent = append(s.Silent, p)
		}
	}
	slices.Sort(s.Silent)
	for id, b := range h.brokers {
		quiet := time.Duration(-1)
		if !b.heard.IsZero() {
			quiet = now().Sub(b.heard)
		}
		s.Brokers = append(s.Brokers, BrokerStats{id, b.addr, quiet})
	}
	slices.SortFunc(s.Brokers, func(a, b BrokerStats) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func (p *producer) fill(s *Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Appended, s.Acked, s.Failed = p.stats.appended, p.stats.acked, p.stats.failed
	s.Waiting, s.Oldest = p.count, p.oldest()
}

func (c *consumer) fill(s *Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Read = c.read
	s.Void = maps.Clone(c.void)
	s.Diverged = maps.Clone(c.diverged)
}

func idString(id [16]byte) string { return hex.EncodeToString(id[:]) }

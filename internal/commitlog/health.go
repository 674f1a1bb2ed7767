package commitlog

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	silentAfter = time.Second            // without an answer a leader is silent
	probeAfter  = 300 * time.Millisecond // without an answer a leader is asked
	probeEvery  = 100 * time.Millisecond
	probePause  = 250 * time.Millisecond // between two probes of one broker
)

// health knows when each broker last answered anything, and who leads what. A
// partition is silent when its leader has not answered for a second. While
// somebody reads, a fetch is always under way and an idle leader answers it
// every 250 ms; when nobody does, or the fetch waits for its reader, the probe
// asks. The probe is also what notices a broker's return.
type health struct {
	mu      sync.Mutex
	brokers map[int32]*brokerHealth
	leads   map[dsv.Partition]leadership
}

// brokerHealth is what is known of one broker.
type brokerHealth struct {
	addr   string
	heard  time.Time // last answer; zero if none
	asked  time.Time // last probe
	asking bool      // a probe is under way
}

// leadership is who leads a partition, -1 for nobody known, and since when we
// have thought so.
type leadership struct {
	broker int32
	since  time.Time
}

var _ kgo.HookBrokerRead = (*health)(nil)

func (h *health) init() {
	h.brokers = map[int32]*brokerHealth{}
	h.leads = map[dsv.Partition]leadership{}
}

// broker is made when first named. Called locked.
func (h *health) broker(id int32) *brokerHealth {
	b := h.brokers[id]
	if b == nil {
		b = &brokerHealth{}
		h.brokers[id] = b
	}
	return b
}

// start takes the leaders that Open has learned, so that silence counts from
// there.
func (h *health) start(cfg Config, st *topicState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range st.brokers {
		h.broker(b.NodeID).addr = hostPort(b.Host, b.Port)
	}
	for _, p := range cfg.all() {
		topic, part, _ := cfg.topic(p)
		leader, ok := st.leaders[topic][part]
		if !ok {
			leader = -1
		}
		h.leads[p] = leadership{leader, now()}
	}
}

// OnBrokerRead notes an answer. It is called by the client library.
func (h *health) OnBrokerRead(meta kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	if err != nil || meta.NodeID < 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.broker(meta.NodeID)
	b.heard, b.addr = now(), hostPort(meta.Host, meta.Port)
}

func hostPort(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// silence is how long the leader of p has not answered. Called locked.
func (h *health) silence(p dsv.Partition) time.Duration {
	lead, ok := h.leads[p]
	if !ok {
		return 0
	}
	last := lead.since
	if lead.broker >= 0 {
		if b := h.broker(lead.broker); b.heard.After(last) {
			last = b.heard
		}
	}
	return now().Sub(last)
}

// lead notes the leader of p as the client library now sees it.
func (h *health) lead(p dsv.Partition, broker int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.leads[p]; !ok || old.broker != broker {
		h.leads[p] = leadership{broker, now()}
	}
}

// quiet are the leaders that should be asked now; they are noted as being asked.
func (h *health) quiet() []int32 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ask []int32
	for _, lead := range h.leads {
		if lead.broker < 0 {
			continue
		}
		b := h.broker(lead.broker)
		if !b.asking && now().Sub(b.heard) >= probeAfter && now().Sub(b.asked) >= probePause {
			b.asking, b.asked = true, now()
			ask = append(ask, lead.broker)
		}
	}
	return ask
}

func (h *health) asked(id int32) {
	h.mu.Lock()
	h.broker(id).asking = false
	h.mu.Unlock()
}

// probe keeps the leaders known and asks those that are quiet, until Close.
func (l *Log) probe() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.life.Done():
			return
		case <-tick.C:
		}
		l.learnLeaders()
		for _, id := range l.health.quiet() {
			l.work.Go(func() { l.ask(id) })
		}
	}
}

// learnLeaders takes over what the client library knows of leaders. It knows
// none of a topic that it neither reads nor writes; Open's knowledge stands.
func (l *Log) learnLeaders() {
	for _, p := range l.cfg.all() {
		topic, part, _ := l.cfg.topic(p)
		if broker, epoch, _ := l.cl.PartitionLeader(topic, part); epoch >= 0 || broker >= 0 {
			l.health.lead(p, broker)
		}
	}
}

// ask sends one broker the cheapest request there is. The answer is noted by
// OnBrokerRead, in time or late.
func (l *Log) ask(id int32) {
	defer l.health.asked(id)
	ctx, cancel := context.WithTimeout(l.life, silentAfter/2)
	defer cancel()
	_, err := l.cl.Broker(int(id)).Request(ctx, kmsg.NewPtrApiVersionsRequest())
	if err != nil {
		l.cl.ForceMetadataRefresh() // the leader may be another by now
	}
}

// Silent reports whether the leader of p has answered no request for a second.
// It turns false by itself within a second of the first answer. It counts from
// Open, and from a change of leader.
func (l *Log) Silent(p dsv.Partition) bool {
	h := &l.health
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silence(p) >= silentAfter
}

package commitlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fields of a record batch, as on the wire.
const (
	batchLength  = 8 // int32: what follows it
	batchBegin   = 12
	batchCRC     = 17 // over all from batchAttrs on
	batchAttrs   = 21 // int16
	batchFirstTS = 27 // int64
	batchMaxTS   = 35 // int64
	batchHeader  = 61
	appendTime   = 1 << 3 // attribute: timestamps are append times
)

const (
	maxRequest    = 32 << 20 // bytes of one request
	requestHeader = 4 + 2 + 2 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp makes the broker set the timestamps of every batch it takes, in the
// order in which it takes them: the fault never fails anything, it is kfake's
// way to see a request on the goroutine that appends.
func (b *Broker) stamp() {
	b.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, TopLevel: true, Count: -1,
		When: func(req kmsg.Request) bool {
			b.batches.Add(stampBatches(req.(*kmsg.ProduceRequest), now()))
			b.produces.Add(1)
			return false
		},
	})
}

// stampBatches returns how many batches there were.
func stampBatches(req *kmsg.ProduceRequest, t time.Time) (n int64) {
	for _, topic := range req.Topics {
		for _, p := range topic.Partitions {
			n++
			if r := p.Records; len(r) >= batchHeader && batchOK(r) {
				binary.BigEndian.PutUint64(r[batchFirstTS:], uint64(t.UnixMilli()))
				binary.BigEndian.PutUint64(r[batchMaxTS:], uint64(t.UnixMilli()))
				r[batchAttrs+1] &^= appendTime // kfake would set times of its own and break the CRC
				signBatch(r)
			}
		}
	}
	return n
}

// batchOK reports whether a batch is as its producer made it; kfake refuses it
// if not, and must go on doing so.
func batchOK(r []byte) bool {
	return binary.BigEndian.Uint32(r[batchCRC:]) == crc32.Checksum(r[batchAttrs:], castagnoli)
}

func signBatch(r []byte) {
	binary.BigEndian.PutUint32(r[batchCRC:], crc32.Checksum(r[batchAttrs:], castagnoli))
}

// markBatches marks all whole batches in r as having append times.
func markBatches(r []byte) {
	for len(r) >= batchHeader {
		n := batchBegin + int(binary.BigEndian.Uint32(r[batchLength:]))
		if n < batchHeader || n > len(r) {
			return
		}
		r[batchAttrs+1] |= appendTime
		signBatch(r[:n])
		r = r[n:]
	}
}

// brokerListener hands connections to kfake.
type brokerListener struct {
	net.Listener
	broker    *Broker
	advertise string
}

func (l *brokerListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &brokerConn{Conn: conn, broker: l.broker, fetches: map[int32]int16{}}
	c.in = bufio.NewReaderSize(conn, 16<<10)
	l.broker.mu.Lock()
	l.broker.conns[c] = struct{}{}
	l.broker.mu.Unlock()
	return c, nil
}

// Addr is what clients are told.
func (l *brokerListener) Addr() net.Addr {
	if l.advertise != "" {
		return advertised(l.advertise)
	}
	return l.Listener.Addr()
}

// brokerConn stands between a client and kfake. On the way in it refuses what
// would bring kfake down (a request of unknown kind, or of a size that nobody
// needs) and notes which requests are fetches; on the way out it marks the
// batches in their answers.
type brokerConn struct {
	net.Conn
	broker *Broker
	in     *bufio.Reader
	left   int // of the request being read

	mu      sync.Mutex
	fetches map[int32]int16 // version, by correlation id
}

var errRequest = errors.New("commitlog: not a Kafka request")

func (c *brokerConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		if err := c.next(); err != nil {
			_ = c.Close()
			return 0, err
		}
	}
	n, err := c.in.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// next looks at the head of the next request.
func (c *brokerConn) next() error {
	head, err := c.in.Peek(requestHeader)
	if err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	key, version := int16(binary.BigEndian.Uint16(head[4:])), int16(binary.BigEndian.Uint16(head[6:]))
	if size < requestHeader-4 || size > maxRequest || kmsg.RequestForKey(key) == nil {
		return errRequest
	}
	if kmsg.Key(key) == kmsg.Fetch {
		c.mu.Lock()
		c.fetches[int32(binary.BigEndian.Uint32(head[8:]))] = version
		c.mu.Unlock()
	}
	c.left = 4 + int(size)
	return nil
}

// Write gets one whole answer; kfake writes no other way.
func (c *brokerConn) Write(b []byte) (int, error) {
	if len(b) >= 8 {
		corr := int32(binary.BigEndian.Uint32(b[4:]))
		c.mu.Lock()
		version, ok := c.fetches[corr]
		delete(c.fetches, corr)
		c.mu.Unlock()
		if ok && !c.broker.serveOdd() {
			markFetch(b[8:], version)
		}
	}
	return c.Conn.Write(b)
}

// markFetch marks the batches in the answer to a fetch, in place.
func markFetch(b []byte, version int16) {
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(version)
	if resp.IsFlexible() {
		if len(b) == 0 {
			return
		}
		b = b[1:] // an empty section of tags ends the header
	}
	if resp.ReadFrom(b) != nil {
		return
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			markBatches(p.RecordBatches) // a part of b
		}
	}
}

func (c *brokerConn) Close() error {
	c.broker.mu.Lock()
	delete(c.broker.conns, c)
	c.broker.mu.Unlock()
	return c.Conn.Close()
}

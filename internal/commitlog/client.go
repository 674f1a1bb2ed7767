package commitlog

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	dialTimeout    = time.Second            // of TCP
	tlsTimeout     = 3 * time.Second        // of the handshake on top
	fetchWait      = 250 * time.Millisecond // a fetch of an idle partition is answered after this
	requestTimeout = 3 * time.Second        // a connection on which a request waits longer is dropped
	produceTimeout = 2 * time.Second        // the leader's time for its followers, on top
	maxLinger      = time.Millisecond       // of a record in company
	maxWaiting     = 50_000                 // records handed over and not settled
	maxWaitingSize = 64 << 20               // their bytes
)

// newClient makes the one client that produces, consumes and asks. Nothing here
// gives up on a record: a record that is given up makes the client begin a new
// producer epoch, in which later records may overtake earlier ones. So there is
// no delivery timeout, no limit of retries and no cancelling; who waits for a
// record answers from a timer of its own. After an error that does break the
// sequence (a broker that lost its memory of this producer) the client goes on
// by itself.
func newClient(cfg Config, hook kgo.Hook) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.ClientID("dsv"),
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.Dialer(dialer(cfg)),
		kgo.WithLogger(clientLog{cfg.logger()}),
		kgo.RequestTimeoutOverhead(requestTimeout),
		kgo.RetryBackoffFn(backoff),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.MetadataMaxAge(30 * time.Second),
		kgo.DisableClientMetrics(),

		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(maxBatchBytes),
		kgo.ProduceRequestTimeout(produceTimeout),
		kgo.ProducerLinger(maxLinger),
		kgo.MaxBufferedRecords(2 * maxWaiting), // never reached: Append counts
		kgo.UnknownTopicRetries(-1),

		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMinBytes(1),
		kgo.FetchMaxBytes(8 << 20),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
		kgo.KeepControlRecords(),
	}
	if hook != nil {
		opts = append(opts, kgo.WithHooks(hook))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("commitlog: %w", err)
	}
	return cl, nil
}

// backoff keeps the client probing: the log has to be noticed within a second
// of its return.
func backoff(fails int) time.Duration {
	d := 250 * time.Millisecond
	if fails < 3 {
		d = 50 * time.Millisecond << max(fails-1, 0)
	}
	return d*4/5 + rand.N(d/5)
}

// dialer dials in bounded time, and speaks TLS if cfg says so.
func dialer(cfg Config) func(context.Context, string, string) (net.Conn, error) {
	dial := cfg.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		tcp, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dial(tcp, network, addr)
		if err != nil || cfg.TLS == nil {
			return conn, err
		}
		tc := cfg.TLS.Clone()
		if tc.ServerName == "" {
			if tc.ServerName, _, err = net.SplitHostPort(addr); err != nil {
				_ = conn.Close()
				return nil, err
			}
		}
		hs, cancel := context.WithTimeout(ctx, tlsTimeout)
		defer cancel()
		secure := tls.Client(conn, tc)
		if err := secure.HandshakeContext(hs); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

// clientLog hands what the client library says to slog, one level down: an
// outage is told by who notices it, not by every retry.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Level() kgo.LogLevel {
	switch {
	case l.log.Enabled(context.Background(), slog.LevelDebug):
		return kgo.LogLevelWarn
	case l.log.Enabled(context.Background(), slog.LevelWarn):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

func (l clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	if level == kgo.LogLevelError {
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, "kafka client: "+msg, keyvals...)
}

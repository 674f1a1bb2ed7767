package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/coordinator"
)

// cluster is GET /v1/cluster.
func (c *call) cluster() error {
	if _, err := c.query(); err != nil {
		return err
	}
	s, err := c.vault.Status(c.ctx, c.session)
	if err != nil {
		return err
	}
	return c.marshal(http.StatusOK, wireStatus(s))
}

func wireStatus(s coordinator.Status) client.Status {
	out := client.Status{
		Cluster: s.Cluster, Node: string(s.Node), Software: s.Software, State: s.State, Why: list(s.Why),
		K: s.Quorum.K, N: s.Quorum.N, W: s.Quorum.W, Reachable: s.Reachable, Margin: s.Margin,
		Members: []client.Member{}, Keepers: []client.Keeper{}, Partitions: []client.Partition{},
		Log: client.Log{
			Brokers: list(s.Log.Brokers), Available: s.Log.Available, Good: s.Log.Good,
			OldestWait: millis(s.Log.OldestWait), Void: s.Log.Void,
		},
		Alarms: list(s.Alarms),
	}
	for _, m := range s.Members {
		out.Members = append(out.Members, client.Member{
			Node: string(m.Node), Addr: m.Addr, State: m.State, Sealed: m.Sealed, Software: m.Software, Position: m.Position,
			Lag: m.Lag, RTT: millis(m.RTT), LastSeen: wireTime(m.LastSeen), Shards: m.Shards, Holes: m.Holes, Staged: m.Staged,
		})
	}
	for _, k := range s.Keepers {
		out.Keepers = append(out.Keepers, client.Keeper{
			Keeper: string(k.Keeper), Addr: k.Addr, Reachable: k.Reachable, Holds: k.Holds,
			Generation: k.Generation, LastSeen: wireTime(k.LastSeen), Problem: k.Problem,
		})
	}
	for _, p := range s.Partitions {
		out.Partitions = append(out.Partitions, client.Partition{
			Partition: int(p.Partition), Applied: p.Applied, End: p.End, T: wireTime(p.T),
			Pending: p.Pending, Digest: p.Digest, Diverged: p.Diverged,
		})
	}
	return out
}

// list is s, never null in JSON.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// shards is GET …/secrets/{key}/shards.
func (c *call) shards() error {
	if _, err := c.query(); err != nil {
		return err
	}
	versions, err := c.vault.Shards(c.ctx, c.session, c.path)
	if err != nil {
		return err
	}
	out := client.Shards{Namespace: c.path.NS.String(), Key: c.path.Key.String(), Versions: []client.VersionShards{}}
	for _, v := range versions {
		w := client.VersionShards{Version: v.Version, ShareSet: v.ShareSet, Holders: []client.Holder{}}
		for _, h := range v.Holders {
			w.Holders = append(w.Holders, client.Holder{Node: string(h.Node), Rank: h.Rank, State: h.State})
		}
		out.Versions = append(out.Versions, w)
	}
	return c.marshal(http.StatusOK, out)
}

// operation is GET /v1/operations/{id}.
func (c *call) operation() error {
	if _, err := c.query(); err != nil {
		return err
	}
	text, err := c.param("id")
	if err != nil {
		return err
	}
	id, err := dsv.ParseTxID(text)
	if err != nil {
		return err
	}
	o, err := c.vault.Operation(c.ctx, c.session, id)
	if err != nil {
		return err
	}
	c.stood(o.Position, 0, false)
	return c.json(http.StatusOK, 256+128*len(o.Results), func(b []byte) []byte {
		return appendOutcome(b, o)
	})
}

func appendOutcome(b []byte, o coordinator.Outcome) []byte {
	b = appendString(append(b, `{"operation":`...), o.Operation.String())
	b = appendString(append(b, `,"state":`...), o.State)
	if o.Code != "" {
		b = appendString(append(b, `,"code":`...), string(o.Code))
	}
	for i, w := range o.Results {
		if i == 0 {
			b = append(b, `,"results":[`...)
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendUint(append(b, `{"version":`...), w.Version, 10)
		b = appendTime(append(b, `,"valid_from":`...), w.ValidFrom)
		b = appendTime(append(b, `,"previous_valid_to":`...), w.ValidTo)
		if w.Unchanged {
			b = append(b, `,"unchanged":true`...)
		}
		b = append(b, '}')
	}
	if len(o.Results) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

package meta

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// Golden transcripts, testdata/*.txt. A line "> …" is one record; what follows
// up to the next is what it did, written by the test (-update). Lines that
// begin with "#" are prose.
//
//	> +DURATION WHO prepare NAME KIND:KEY[@VERSIONS][?IF] … [ttl=] [idem=] [caller=] [t0=±DURATION]
//	> +DURATION WHO commit NAME [RANK[:STORE],…]     no list: ranks 0 to 3 under the current ids
//	> +DURATION WHO abort NAME [unchanged=VERSION]
//	> +DURATION WHO join NODE STORE [REPLACED]
//	> +DURATION WHO config | tick | checkpoint | setting | garbage
//	> rows                                           all rows of the partition
//
// VERSIONS of a DESTROY: all, or numbers; of a REPAIR: NUMBER=NAME, the share
// set it starts from. Times are relative to the first record's append.
var updateGolden = flag.Bool("update", false, "write the golden transcripts anew")

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replayTranscript(t, string(b))
			if *updateGolden {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(b), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func replayTranscript(t *testing.T, text string) string {
	s := &script{world: bareWorld(t), txs: map[string]dsv.TxID{}}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		cmd, isCmd := strings.CutPrefix(line, "> ")
		if !isCmd {
			if line == "" || line[0] == '#' {
				fmt.Fprintln(&s.out, line)
			}
			continue
		}
		fmt.Fprintln(&s.out, line)
		if cmd == "rows" {
			s.rows()
		} else {
			s.record(strings.Fields(cmd))
		}
	}
	return s.out.String()
}

type script struct {
	*world
	out strings.Builder
	txs map[string]dsv.TxID
}

func (s *script) duration(text string) int64 {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Microseconds()
}

func (s *script) number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *script) record(f []string) {
	s.pass(s.duration(f[0]))
	s.who = incarnation(f[1][0])
	s.effects(s.do(s.body(f[2], f[3:])))
}

func (s *script) body(verb string, args []string) any {
	switch verb {
	case "config":
		return s.cfg.Record()
	case "tick":
		return &metapb.Tick{}
	case "checkpoint":
		return &metapb.Checkpoint{}
	case "setting":
		return &metapb.Setting{Type: "token", Id: "x"}
	case "garbage":
		return nil
	case "join":
		j := join(dsv.NodeID(args[0]), s.store(args[1]), dsv.StoreID{})
		if len(args) > 2 {
			id := s.store(args[2])
			j.Replaces = id[:]
		}
		return j
	case "prepare":
		return s.prepareOf(args[0], args[1:])
	case "commit":
		id := s.id(args[0])
		return &metapb.Commit{Txid: id.Bytes(), Acks: s.acksOf(args[1:])}
	case "abort":
		id := s.id(args[0])
		a := &metapb.Abort{Txid: id.Bytes(), Reason: metapb.AbortReason_REFUSED}
		if len(args) > 1 {
			a.Reason, a.UnchangedVersion = metapb.AbortReason_UNCHANGED, s.number(strings.TrimPrefix(args[1], "unchanged="))
		}
		return a
	}
	s.t.Fatalf("what is %q?", verb)
	return nil
}

// id is the txid of a name, begun where the name is first used.
func (s *script) id(name string) dsv.TxID {
	if _, ok := s.txs[name]; !ok {
		s.txs[name] = s.txid()
	}
	return s.txs[name]
}

// store reads "s7".
func (s *script) store(text string) dsv.StoreID { return storeID(byte(s.number(text[1:]))) }

func (s *script) acksOf(args []string) (out []*metapb.Ack) {
	var ids map[dsv.NodeID]dsv.StoreID
	s.read(func(tx store.Txn) { ids = must(StoreIDs(tx, s.p))(s.t) })
	ranks := "0,1,2,3"
	if len(args) > 0 {
		ranks = args[0]
	}
	for part := range strings.SplitSeq(ranks, ",") {
		rank, named, ok := strings.Cut(part, ":")
		r := s.number(rank)
		id := ids[s.cfg.Holders(ns(testNS))[r]]
		if ok {
			id = s.store(named)
		}
		out = append(out, &metapb.Ack{Holder: uint32(r), StoreId: id[:]})
	}
	return out
}

func (s *script) prepareOf(name string, args []string) *metapb.Prepare {
	id := s.id(name)
	var ops []*metapb.Op
	var changes []func(*metapb.Prepare)
	for _, a := range args {
		key, value, isOption := strings.Cut(a, "=")
		switch {
		case isOption && key == "ttl":
			changes = append(changes, func(p *metapb.Prepare) { p.TtlUs = s.duration(value) })
		case isOption && key == "idem":
			changes = append(changes, idem(value))
		case isOption && key == "caller":
			changes = append(changes, func(p *metapb.Prepare) { p.Caller = value })
		case isOption && key == "t0":
			id.T0 += s.duration(value)
		default:
			ops = append(ops, s.opOf(a))
		}
	}
	s.txs[name] = id
	return s.world.prepare(id, ops, changes...)
}

func (s *script) opOf(text string) *metapb.Op {
	text, ifVersion, conditional := strings.Cut(text, "?")
	kind, rest, _ := strings.Cut(text, ":")
	key, versions, _ := strings.Cut(rest, "@")
	o := s.op(metapb.OpKind(metapb.OpKind_value[kind]), key)
	if conditional {
		ifv(s.number(ifVersion))(o)
	}
	switch {
	case o.Kind == repair:
		n, from, _ := strings.Cut(versions, "=")
		o.RepairVersion, o.FromShareSet = s.number(n), dsv.ShareSet{Tx: s.txs[from]}.Bytes()
	case versions == "all":
		o.All = true
	case versions != "":
		for n := range strings.SplitSeq(versions, ",") {
			o.Versions = append(o.Versions, s.number(n))
		}
	}
	return o
}

// ---- what comes out ----

func (s *script) say(format string, args ...any) { fmt.Fprintf(&s.out, "  "+format+"\n", args...) }

// at is a T-like time relative to the first record.
func at(t int64) string {
	if t < start/2 {
		return strconv.FormatInt(t, 10)
	}
	return fmt.Sprintf("T%+gs", float64(t-start)/second)
}

func (s *script) name(id dsv.TxID) string {
	for name, known := range s.txs {
		if known == id {
			return name
		}
	}
	return id.String()
}

func (s *script) effects(e Effects) {
	s.say("%d %s E=%gs", e.Head.Offset, at(e.Head.T), float64(e.Head.E)/second)
	if e.Void != "" {
		s.say("void: %s", e.Void)
	}
	if e.Config != nil {
		s.say("configured: %s %v %+v P=%d", e.Config.ClusterID, e.Config.Members, e.Config.Q, e.Config.Partitions)
	}
	if e.Join != nil {
		s.say("joined: %s with s%d after s%d", e.Join.Node, e.Join.StoreID[15], e.Join.Replaces[15])
	}
	for _, d := range e.Decisions {
		s.decision(d)
	}
	if e.Prepared != nil {
		st := s.status(*e.Prepared)
		s.say("pending: %s until E=%gs, holders %v", s.name(*e.Prepared), float64(st.Deadline)/second, st.Holders)
	}
}

func (s *script) decision(d Decision) {
	line := fmt.Sprintf("%s: %s", d.Status.State, s.name(d.Tx))
	if d.Status.Code != "" {
		line += " " + string(d.Status.Code)
	}
	if d.Status.FailedOp > 0 {
		line += fmt.Sprintf(" by operation %d", d.Status.FailedOp)
	}
	if !d.Status.DuplicateOf.IsZero() {
		line += " of " + s.name(d.Status.DuplicateOf)
	}
	s.say("%s", line)
	for _, r := range d.Status.Results {
		line := fmt.Sprintf("  %s %s version %d", r.Kind, r.Key, r.Version)
		if r.ValidFrom > 0 {
			line += " from " + at(r.ValidFrom)
		}
		if r.ValidTo > 0 {
			line += " to " + at(r.ValidTo)
		}
		if r.Unchanged {
			line += " unchanged"
		}
		s.say("%s", line)
	}
	for _, o := range d.Ops {
		for _, g := range o.Gone {
			s.say("  gone: %s@%d %s/%d", g.Path.Key, g.Version, s.name(g.ShareSet.Tx), g.ShareSet.Op)
		}
	}
}

// rows prints every row with its fields in order of number.
func (s *script) rows() {
	s.read(func(tx store.Txn) {
		items, _, err := tx.Scan(Prefix(s.p), store.Page{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, it := range items {
			key := string(it.Key[prefixLen:])
			switch kind := it.Key[3]; kind {
			case kindHead:
				s.row("head", it, new(metapb.HeadRow))
			case kindConfig:
				s.row("config", it, new(metapb.Config))
			case kindStores:
				s.row("stores", it, new(metapb.StoresRow))
			case kindTx:
				id, _ := txOfKey(s.p, it.Key)
				s.row("tx "+s.name(id), it, new(metapb.TxRow))
			case kindSecret:
				s.row("secret "+strings.ReplaceAll(key, "\x00", " "), it, new(metapb.SecretRow))
			case kindVersion:
				at, n, _ := versionOfKey(it.Key)
				s.row(fmt.Sprintf("version %s@%d", at, n), it, new(metapb.VersionRow))
			case kindSeen:
				s.say("seen s%d: %s", key[15], it.Value)
			case kindDue:
				deadline, id, _ := dueOfKey(s.p, it.Key)
				s.say("due E=%gs %s", float64(deadline)/second, s.name(id))
			case kindIdem:
				id, _ := dsv.TxIDFromBytes(it.Value)
				s.say("answered %.4x: %s", key, s.name(id))
			default:
				s.t.Fatalf("a row of kind %q", kind)
			}
		}
		s.say("digest %x", must(DigestOf(tx, s.p))(s.t))
	})
}

func (s *script) row(title string, it store.Item, msg proto.Message) {
	if err := proto.Unmarshal(it.Value, msg); err != nil {
		s.t.Fatal(err)
	}
	s.say("%s: %s", title, s.fields(msg.ProtoReflect()))
}

func (s *script) fields(m protoreflect.Message) string {
	var parts []string
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		if !m.Has(fd) {
			continue
		}
		v := m.Get(fd)
		if !fd.IsList() {
			parts = append(parts, fmt.Sprintf("%s=%s", fd.Name(), s.field(fd, v)))
			continue
		}
		var list []string
		for j := range v.List().Len() {
			list = append(list, s.field(fd, v.List().Get(j)))
		}
		parts = append(parts, fmt.Sprintf("%s=[%s]", fd.Name(), strings.Join(list, " ")))
	}
	return strings.Join(parts, " ")
}

func (s *script) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		return "{" + s.fields(v.Message()) + "}"
	case protoreflect.EnumKind:
		return string(fd.Enum().Values().ByNumber(v.Enum()).Name())
	case protoreflect.BytesKind:
		return s.bytes(v.Bytes())
	case protoreflect.Int64Kind:
		return at(v.Int())
	}
	return v.String()
}

func (s *script) bytes(b []byte) string {
	switch len(b) {
	case dsv.TxIDSize:
		id, _ := dsv.TxIDFromBytes(b)
		return s.name(id)
	case dsv.ShareSetSize:
		set, _ := dsv.ShareSetFromBytes(b)
		return fmt.Sprintf("%s/%d", s.name(set.Tx), set.Op)
	case 16:
		if slices.Max(b[1:15]) == 0 && b[0] == 0 {
			return fmt.Sprintf("s%d", b[15])
		}
		return string(b[:1])
	}
	return fmt.Sprintf("%x", b[:8])
}

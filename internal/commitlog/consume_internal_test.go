package commitlog

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What may follow offset 4 of epoch 2, and what stops the partition.
func TestAdmit(t *testing.T) {
	appended := kgo.NewRecordAttrs(kgo.RecordAttrsOpts{TimestampType: 1})
	for say, r := range map[string]kgo.Record{
		"":                     {Offset: 5, LeaderEpoch: 2, Attrs: appended},
		"a gap":                {Offset: 6, LeaderEpoch: 2, Attrs: appended},
		"a regression: offset": {Offset: 4, LeaderEpoch: 2, Attrs: appended},
		"leader epoch 1":       {Offset: 5, LeaderEpoch: 1, Attrs: appended},
		"no append time":       {Offset: 5, LeaderEpoch: 2},
	} {
		at := &reading{next: 5, epoch: 2, failing: now()}
		got := at.admit(&r)
		if (say == "") != (got == "") || !strings.Contains(got, say) {
			t.Errorf("%+v: %q, want %q", r, got, say)
		}
		if moved := at.next == 6 && at.failing.IsZero(); moved != (say == "") {
			t.Errorf("%q: stands at %+v", say, at)
		}
	}
}

// Loss stops at once; what may pass, only when it does not.
func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			err     error
			at      time.Duration
			stopped bool
		}{
			{&kgo.ErrDataLoss{}, 0, true},
			{kerr.OffsetOutOfRange, 0, true},
			{kerr.UnknownTopicID, 0, false},
			{kerr.UnknownTopicID, maxFailing, true},
			{errors.New("crc"), maxFailing / 2, false},
			{errors.New("crc"), maxFailing, true},
			{kerr.TopicAuthorizationFailed, time.Hour, false},
		} {
			at := &reading{next: 5}
			first := at.fail(c.err)
			if c.at > 0 {
				time.Sleep(c.at)
				first = at.fail(c.err)
			}
			if (first != "") != c.stopped {
				t.Errorf("%v after %v: %q", c.err, c.at, first)
			}
		}
	})
}

package commitlog

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of this package. They are compared with errors.Is.
var (
	// ErrSilent: the leader of the partition answered no request for a
	// second. Nothing was handed to the client library.
	ErrSilent = errors.New("commitlog: the log does not answer")
	// ErrBusy: too much is waiting for the brokers already. It is an
	// ErrSilent to errors.Is, since it asks for the same answer.
	ErrBusy = fmt.Errorf("%w: too many records are waiting", ErrSilent)
	// ErrTooLarge: the body is larger than MaxBody.
	ErrTooLarge = errors.New("commitlog: the record is too large")
	// ErrClosed: the Log is closed.
	ErrClosed = errors.New("commitlog: closed")
	// ErrDiverged: the partition has diverged and stays stopped.
	ErrDiverged = errors.New("commitlog: the partition has diverged")
	// ErrPartition: there is no such partition.
	ErrPartition = errors.New("commitlog: no such partition")
	// ErrUnreachable: no broker could be asked before the context ended.
	ErrUnreachable = errors.New("commitlog: no broker can be reached")
	// ErrLocked: another process has the data directory of the broker.
	ErrLocked = errors.New("commitlog: the data directory is in use")
)

// Setting is one wrong setting of a topic: what was found and what is wanted,
// both in Kafka's own words.
type Setting struct {
	Topic, Name, Found, Wanted string
}

func (s Setting) String() string {
	return fmt.Sprintf("topic %s: %s is %s, must be %s", s.Topic, s.Name, s.Found, s.Wanted)
}

// SettingsError tells every setting of the topics that is not as it must be.
type SettingsError struct {
	Settings []Setting
}

func (e *SettingsError) Error() string {
	var b strings.Builder
	b.WriteString("commitlog: wrong topic settings")
	for i, s := range e.Settings {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(s.String())
	}
	return b.String()
}

package commitlog

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/dsvault/dsv"
)

const (
	formatVersion = 1
	nonceSize     = 12
	tagSize       = 16
	headerSize    = 1 + len(dsv.Incarnation{}) + nonceSize
	overhead      = headerSize + tagSize
	keyInfo       = "dsv commitlog record v1"
	maxAEADs      = 256 // incarnations whose key is kept ready
)

// Reasons why a record is void, as they stand in Record.Void and Stats.Void.
const (
	VoidFormat = "format" // not of our form
	VoidSealed = "sealed" // does not open: foreign, altered or moved
	VoidMarker = "marker" // a control record of a Kafka transaction
	VoidKey    = "key"    // carries a Kafka key or headers
)

// sealer seals and opens record values. It is safe for concurrent use.
type sealer struct {
	cfg  Config
	mine cipher.AEAD

	mu    sync.Mutex
	hi    uint32 // the nonce counter: hi and lo as 96 bits
	lo    uint64
	aeads map[dsv.Incarnation]cipher.AEAD
}

func newSealer(cfg Config) (*sealer, error) {
	s := &sealer{cfg: cfg, aeads: map[dsv.Incarnation]cipher.AEAD{}}
	var err error
	if s.mine, err = s.derive(cfg.Incarnation); err != nil {
		return nil, err
	}
	s.aeads[cfg.Incarnation] = s.mine
	var start [nonceSize]byte
	_, _ = rand.Read(start[:])
	s.hi, s.lo = binary.BigEndian.Uint32(start[:4]), binary.BigEndian.Uint64(start[4:])
	return s, nil
}

// derive makes the AEAD of one incarnation.
func (s *sealer) derive(inc dsv.Incarnation) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, s.cfg.Key.Reveal(), nil, keyInfo+string(inc[:]), 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce puts the next nonce into dst.
func (s *sealer) nonce(dst []byte) {
	s.mu.Lock()
	if s.lo++; s.lo == 0 {
		s.hi++
	}
	hi, lo := s.hi, s.lo
	s.mu.Unlock()
	binary.BigEndian.PutUint32(dst, hi)
	binary.BigEndian.PutUint64(dst[4:], lo)
}

// aad is the additional data of a record of inc in a topic's partition.
func (s *sealer) aad(topic string, part int32, inc dsv.Incarnation) []byte {
	b := make([]byte, 0, 1+4*4+len(s.cfg.ClusterID)+len(topic)+4+len(inc))
	b = append(b, formatVersion)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(s.cfg.ClusterID))), s.cfg.ClusterID...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(topic))), topic...)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, 4), uint32(part))
	return append(binary.BigEndian.AppendUint32(b, uint32(len(inc))), inc[:]...)
}

// seal makes the value of a record with this body.
func (s *sealer) seal(topic string, part int32, body []byte) []byte {
	inc := s.cfg.Incarnation
	v := make([]byte, headerSize, overhead+len(body))
	v[0] = formatVersion
	copy(v[1:], inc[:])
	nonce := v[headerSize-nonceSize : headerSize]
	s.nonce(nonce)
	return s.mine.Seal(v, nonce, body, s.aad(topic, part, inc))
}

// open returns the incarnation and the body in v, or why the value is void. The
// body stands in v's own bytes.
func (s *sealer) open(topic string, part int32, v []byte) (inc dsv.Incarnation, body []byte, void string) {
	if len(v) < overhead || v[0] != formatVersion {
		return inc, nil, VoidFormat
	}
	copy(inc[:], v[1:])
	aead, known, err := s.aead(inc)
	if err != nil {
		return inc, nil, VoidSealed
	}
	ct := v[headerSize:]
	body, err = aead.Open(ct[:0], v[headerSize-nonceSize:headerSize], ct, s.aad(topic, part, inc))
	if err != nil {
		return inc, nil, VoidSealed
	}
	if !known {
		s.keep(inc, aead)
	}
	return inc, body, ""
}

func (s *sealer) aead(inc dsv.Incarnation) (a cipher.AEAD, known bool, err error) {
	s.mu.Lock()
	a, known = s.aeads[inc]
	s.mu.Unlock()
	if known {
		return a, true, nil
	}
	a, err = s.derive(inc)
	return a, false, err
}

// keep remembers the AEAD of an incarnation that has proven to be of this
// cluster, so garbage cannot push others out. When full, any other goes.
func (s *sealer) keep(inc dsv.Incarnation, a cipher.AEAD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for old := range s.aeads {
		if len(s.aeads) < maxAEADs {
			break
		}
		if old != s.cfg.Incarnation {
			delete(s.aeads, old)
		}
	}
	s.aeads[inc] = a
}

package keeper

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/dsvault/dsv"
)

// Vault is where a node keeps all shares of its own root key, sealed under
// that key, so that it knows which keeper has which. The node implements it on
// its encrypted store. The bytes are secret and valid only during the call.
type Vault interface {
	// LoadShares returns what SaveShares kept, false if nothing is kept.
	LoadShares(ctx context.Context) ([]byte, bool, error)
	// SaveShares replaces what is kept and returns when it is durable.
	SaveShares(ctx context.Context, b []byte) error
}

const vaultFormat = 1

var errVault = errors.New("keeper: the kept shares are damaged")

// kept is one share as a Vault has it.
type kept struct {
	keeper dsv.NodeID // "" = no keeper has it
	share  share
}

// encodeKept writes the shares of s with the keeper of each.
func encodeKept(s *set, keepers []Target, assign []int) []byte {
	b := append(make([]byte, 0, 2+s.count*(3+64+MaxShare)), vaultFormat, byte(s.count))
	for index := range s.count {
		var id dsv.NodeID
		for i, has := range assign {
			if has == index {
				id = keepers[i].ID
			}
		}
		b = append(append(b, byte(len(id))), id...)
		enc := s.encoded(index)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(enc))), enc...)
		clear(enc)
	}
	return b
}

// decodeKept reads what encodeKept wrote, and nothing else: every share of one
// head, in the order of their index. It aliases b.
func decodeKept(b []byte) ([]kept, error) {
	if len(b) < 2 || b[0] != vaultFormat {
		return nil, errVault
	}
	list := make([]kept, 0, MaxKeepers)
	count, b := int(b[1]), b[2:]
	for index := range count {
		id, rest, ok := cutBytes(b)
		if !ok || len(rest) < 2 || index >= MaxKeepers {
			return nil, errVault
		}
		size := int(binary.BigEndian.Uint16(rest))
		if len(rest)-2 < size {
			return nil, errVault
		}
		s, err := decodeShare(rest[2 : 2+size])
		if err != nil || s.index != index || s.count != count || index > 0 && s.head != list[0].share.head {
			return nil, errVault
		}
		if _, err := dsv.ParseNodeID(string(id)); err != nil && len(id) > 0 {
			return nil, errVault
		}
		list, b = append(list, kept{dsv.NodeID(id), s}), rest[2+size:]
	}
	if len(b) > 0 || count == 0 {
		return nil, errVault
	}
	return list, nil
}

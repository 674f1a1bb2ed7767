package keeper

import (
	"bytes"
	"fmt"
	"strings"
)

// view is what one keeper said in one round.
type view struct {
	answer
	err     error  // no usable answer
	asked   bool   // the answer or error is there
	share   share  // if sound
	sound   bool   // holds a share of this node that may count
	base    string // what is wrong with the share by itself
	problem string // that, or what is wrong with it beside the others
}

// look reads what the keeper holds. want is what is known of the key, or nil;
// without it a share must be of the configured threshold at least, so that
// fewer keepers than that cannot talk a new node into a key of their own.
func look(a answer, err error, cfg *CustodianConfig, want *Check) view {
	v := view{answer: a, err: err, asked: true}
	if err != nil {
		v.base = "does not answer: " + err.Error()
	} else if a.held {
		v.share, v.base = read(a, cfg, want)
		v.sound = v.base == ""
	}
	v.problem = v.base
	return v
}

// read decodes a share that is held and says what is wrong with it, or "".
func read(a answer, cfg *CustodianConfig, want *Check) (share, string) {
	s, err := decodeShare(a.body)
	switch {
	case err != nil:
		return s, "holds a damaged share"
	case s.cluster != cfg.Cluster:
		return s, "holds a share of another cluster"
	case s.node != cfg.Node:
		return s, fmt.Sprintf("holds a share of another node (%s)", s.node)
	case s.generation != a.generation:
		return s, fmt.Sprintf("says generation %d of a share of generation %d", a.generation, s.generation)
	case want != nil && s.generation != want.Generation:
		return s, fmt.Sprintf("holds generation %d, this node's data is under generation %d", s.generation, want.Generation)
	case want != nil && s.check != want.Value:
		return s, "holds a share of another root key than this node's data is under"
	case want == nil && s.threshold < cfg.Threshold:
		return s, fmt.Sprintf("holds a share of a %d of %d split; this node is set to a threshold of %d", s.threshold, s.count, cfg.Threshold)
	}
	return s, ""
}

// verdict is what all views together make.
type verdict struct {
	set  *set  // the root key and its shares; nil: no threshold
	best int   // the most distinct shares of one generation
	need int   // threshold of those, 0 = there are none
	own  []int // keeper -> index of a right share of set, -1 = none
}

// judge looks for a threshold of shares that fit together, and adds to
// views[i].problem what is wrong with a keeper's share. Order means nothing.
// Only the key check value says that a key is right.
func judge(views []view, keepers []Target) verdict {
	groups := map[head][]int{}
	for i := range views {
		v := &views[i]
		v.problem = v.base
		if v.sound {
			groups[v.share.head] = append(groups[v.share.head], i)
		}
	}
	var out verdict
	for h, members := range groups {
		list := distinct(views, members, keepers)
		if len(list) > out.best {
			out.best, out.need = len(list), h.threshold
		}
		if len(list) < h.threshold || out.set != nil {
			continue
		}
		if out.set = combine(list); out.set == nil {
			unfit(views, members, keepers)
		}
	}
	if out.set != nil {
		out.own = attribute(views, out.set)
	}
	return out
}

// distinct leaves out shares that another keeper holds too, and says so. Two
// different shares that claim one index both stay; combine finds the right one.
func distinct(views []view, members []int, keepers []Target) []share {
	var list []share
	for at, i := range members {
		twin := -1
		for _, j := range members[:at] {
			if bytes.Equal(views[i].body, views[j].body) {
				twin = j
				break
			}
		}
		if twin >= 0 {
			views[i].problem = fmt.Sprintf("holds the same share as keeper %s", keepers[twin].ID)
			continue
		}
		list = append(list, views[i].share)
	}
	return list
}

// unfit blames a group that has a threshold of shares which do not make what
// their head claims: whoever made that head lied to all of them.
func unfit(views []view, members []int, keepers []Target) {
	names := make([]string, len(members))
	for j, i := range members {
		names[j] = string(keepers[i].ID)
	}
	for _, i := range members {
		views[i].problem = "holds a share of a root key that does not exist: those of " + strings.Join(names, ", ") + " fit together and do not make it"
	}
}

// attribute tells who holds a right share of s, and names who holds a wrong one.
func attribute(views []view, s *set) []int {
	own := make([]int, len(views))
	for i := range views {
		v := &views[i]
		own[i] = -1
		switch {
		case !v.sound:
		case s.right(v.share):
			own[i] = v.share.index
		default:
			v.problem = fmt.Sprintf("holds a share of another split, generation %d; the live one is generation %d", v.share.generation, s.generation)
		}
	}
	return own
}

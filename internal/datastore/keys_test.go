package datastore

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// ids are what C8 asks for, and what looks like an index key.
var ids = []string{"", ":", "%", "a:b", "%3A", "%25", "i:", "i:t:f:v:id", strings.Repeat("x", 1024), "ключ-鍵", "\x00", "\xff\xfe", "di:"}

func TestItemKeysRoundTrip(t *testing.T) {
	for _, typ := range []string{"token", "ii", "0"} {
		for _, id := range ids {
			gotType, gotID, ok := parseItem(itemKey(typ, id))
			if !ok || gotType != typ || gotID != id {
				t.Errorf("item %q %q reads back as %q %q %v", typ, id, gotType, gotID, ok)
			}
			if _, ok := parseIndex(itemKey(typ, id)); ok {
				t.Errorf("item %q %q looks like an index row", typ, id)
			}
		}
	}
	for _, key := range []string{"", "d", "x", "dtoken", "di:id", "dT:id", "mtoken:id"} {
		if typ, id, ok := parseItem([]byte(key)); ok {
			t.Errorf("%q reads as item %q %q", key, typ, id)
		}
	}
}

func TestIndexKeysRoundTrip(t *testing.T) {
	for _, value := range ids {
		for _, id := range ids {
			want := indexRow{"token", "name", value, id}
			key := indexKey(want.typ, want.field, want.value, want.id)
			if got, ok := parseIndex(key); !ok || got != want {
				t.Errorf("%+v reads back as %+v %v", want, got, ok)
			}
			if _, _, ok := parseItem(key); ok {
				t.Errorf("%+v looks like an item", want)
			}
		}
	}
	for _, key := range []string{"", "di:", "di:t:f:v", "di:t:f:%:x", "di:t:f:%3a:x", "di:T:f:v:x", "di::f:v:x"} {
		if got, ok := parseIndex([]byte(key)); ok {
			t.Errorf("%q reads as index row %+v", key, got)
		}
	}
}

func TestKeysNeverMeet(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9-]{1,3}`).Filter(validName)
	part := rapid.OneOf(rapid.SampledFrom(ids), rapid.StringOfN(rapid.RuneFrom([]rune("a:%i3A2")), 0, 6, -1))
	type item struct{ typ, id string }
	rapid.Check(t, func(t *rapid.T) {
		draw := func() (item, indexRow) {
			return item{name.Draw(t, "type"), part.Draw(t, "id")},
				indexRow{name.Draw(t, "type"), name.Draw(t, "field"), part.Draw(t, "value"), part.Draw(t, "id")}
		}
		i1, x1 := draw()
		i2, x2 := draw()
		ik1, ik2 := string(itemKey(i1.typ, i1.id)), string(itemKey(i2.typ, i2.id))
		xk1, xk2 := string(indexKey(x1.typ, x1.field, x1.value, x1.id)), string(indexKey(x2.typ, x2.field, x2.value, x2.id))
		if (ik1 == ik2) != (i1 == i2) || (xk1 == xk2) != (x1 == x2) || ik1 == xk1 || ik2 == xk1 {
			t.Fatalf("keys meet: %q %q %q %q", ik1, ik2, xk1, xk2)
		}
		// C9: the range of a value holds exactly the rows of the value.
		same := x1.typ == x2.typ && x1.field == x2.field && x1.value == x2.value
		if strings.HasPrefix(xk2, string(indexPrefix(x1.typ, x1.field, x1.value))) != same {
			t.Fatalf("%+v in the range of %+v", x2, x1)
		}
		same = x1.typ == x2.typ && x1.field == x2.field
		if strings.HasPrefix(xk2, string(indexPrefix(x1.typ, x1.field))) != same {
			t.Fatalf("%+v in the range of the field of %+v", x2, x1)
		}
		if strings.HasPrefix(ik2, string(itemKey(i1.typ, ""))) != (i1.typ == i2.typ) {
			t.Fatalf("%+v in the range of the type of %+v", i2, i1)
		}
	})
}

func FuzzKeys(f *testing.F) {
	for i, s := range ids {
		f.Add(s, ids[len(ids)-1-i])
	}
	f.Add("di:t:f:v:id", "dt:id")
	f.Fuzz(func(t *testing.T, a, b string) {
		if _, id, ok := parseItem(itemKey("t", a)); !ok || id != a {
			t.Fatalf("item id %q reads back as %q", a, id)
		}
		if r, ok := parseIndex(indexKey("t", "f", a, b)); !ok || r != (indexRow{"t", "f", a, b}) {
			t.Fatalf("index row %q %q reads back as %+v", a, b, r)
		}
		// Whatever a key in the store is, it reads in one way and back.
		if typ, id, ok := parseItem([]byte(a)); ok && string(itemKey(typ, id)) != a {
			t.Fatalf("%q is not the key of item %q %q", a, typ, id)
		}
		if r, ok := parseIndex([]byte(a)); ok && string(indexKey(r.typ, r.field, r.value, r.id)) != a {
			t.Fatalf("%q is not the key of index row %+v", a, r)
		}
	})
}

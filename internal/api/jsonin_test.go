package api

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/dsvault/dsv"
)

// decoded is what the fuzzed schema holds.
type decoded struct {
	Value   []byte   `json:"value"`
	Text    string   `json:"text"`
	Number  uint64   `json:"number"`
	Flag    bool     `json:"flag"`
	Numbers []uint64 `json:"numbers"`
	Words   []string `json:"words"`
}

func decodeForTest(b []byte) (decoded, error) {
	var out decoded
	err := decodeObject(b, func(d *decoder, name string) (err error) {
		var s dsv.Secret
		switch name {
		case "value":
			s, err = d.secretBase64(name, 1<<20)
			out.Value = s.Reveal()
		case "text":
			s, err = d.secretText(name, 1<<20)
			out.Text = string(s.Reveal())
		case "number":
			out.Number, err = d.uint(name, 0, maxVersion)
		case "flag":
			out.Flag, err = d.bool(name)
		case "numbers":
			err = d.array(name, func() error {
				v, err := d.uint(name, 0, maxVersion)
				out.Numbers = append(out.Numbers, v)
				return err
			})
		case "words":
			out.Words, err = d.texts(name, 1<<20, 1000)
		default:
			return errUnknown
		}
		return err
	})
	return out, err
}

// FuzzDecoder holds the decoder against encoding/json: whatever it takes, that
// takes too with the same result; and it never changes or keeps its input.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"value":"aGk=","text":"a\u00e9\ud83d\ude00\n\/","number":42,"flag":true,"numbers":[1,2],"words":["a","b\"c"]}`,
		`{"text":"\ud800"}`, `{"number":-0}`, `{"number":0}`, `{"number":00}`, `{"flag":truex}`, `{"numbers":[]}`, `{"numbers":[1,]}`, `{"value":"aGk"}`,
		`{"text":"` + "\xff" + `"}`, `{"text":"\u`, `{"text":"\\"`, `{"te\u0078t":"x"}`, ` { "flag" : false } `, `{"a":1}`, "{\"text\":\"\x7f\"}", `{"value":"aG\u006b="}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		got, err := decodeForTest(in)
		if !bytes.Equal(in, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			e := dsv.AsError(err)
			if e.Kind != dsv.KindInvalid && e.Kind != dsv.KindTooLarge || e.Field == "" || e.Detail == "" {
				t.Fatalf("%#v", e)
			}
			return
		}
		var want decoded
		d := json.NewDecoder(bytes.NewReader(in))
		d.DisallowUnknownFields()
		if err := d.Decode(&want); err != nil {
			t.Fatalf("taken, but encoding/json says %v", err)
		}
		if !utf8.Valid(in) || !bytes.Equal(got.Value, want.Value) || got.Text != want.Text || got.Number != want.Number || got.Flag != want.Flag ||
			len(got.Numbers) != len(want.Numbers) || len(got.Words) != len(want.Words) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		for i := range got.Words {
			if got.Words[i] != want.Words[i] {
				t.Fatalf("words %q, want %q", got.Words, want.Words)
			}
		}
	})
}

// FuzzString: what appendString writes is JSON for the same text.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c", "\x00\x1f\x7f", "é😀\u2028", "\xff\xc3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			t.Fatal(err)
		}
		if want := string(bytes.ToValidUTF8([]byte(s), []byte("\ufffd"))); utf8.ValidString(s) && got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// TestTheWholeTextIsRead: a text and each of its prefixes; only the whole one
// is taken.
func TestTheWholeTextIsRead(t *testing.T) {
	whole := []byte(`{"value":"aGk=","text":"a\u00e9","number":42,"flag":true,"numbers":[1,2],"words":["a"]}`)
	for i := range whole {
		if _, err := decodeForTest(whole[:i]); err == nil {
			t.Errorf("taken: %s", whole[:i])
		}
	}
	if _, err := decodeForTest(whole); err != nil {
		t.Error(err)
	}
}

// TestSecretsDoNotShareTheBody: the body is wiped while the vault still holds
// the value.
func TestSecretsDoNotShareTheBody(t *testing.T) {
	for _, body := range []string{`{"text":"plain"}`, `{"text":"pla\u0069n"}`, `{"value":"cGxhaW4="}`} {
		b := []byte(body)
		v := valueFields{limit: 100}
		if err := decodeObject(b, v.field); err != nil {
			t.Fatal(err)
		}
		clear(b)
		if string(v.value.Reveal()) != "plain" {
			t.Errorf("%s: %q after the body was wiped", body, v.value.Reveal())
		}
	}
}

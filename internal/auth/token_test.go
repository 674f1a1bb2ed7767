package auth

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
)

func TestTokenText(t *testing.T) {
	tok := NewToken()
	text := tok.Text().Reveal()
	if len(text) != 64 {
		t.Fatalf("text of %d bytes", len(text))
	}
	back, err := ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	if back.ID != tok.ID || !back.Secret.Equal(tok.Secret) || back.Hash() != tok.Hash() {
		t.Fatal("another token came back")
	}
	clear(text)
	if !back.Secret.Equal(tok.Secret) {
		t.Fatal("the token keeps the caller's bytes")
	}
	if other := NewToken(); other.ID == tok.ID || other.Secret.Equal(tok.Secret) {
		t.Fatal("two tokens alike")
	}
	if s := fmt.Sprintf("%v %+v %#v %s", tok, tok, tok, tok.Secret); strings.Contains(s, string(tok.Text().Reveal()[21:])) {
		t.Fatal("the secret is printed")
	}
}

func TestParseTokenRefuses(t *testing.T) {
	good := string(NewToken().Text().Reveal())
	bad := map[string]string{
		"empty":          "",
		"scheme only":    "dsv..",
		"other scheme":   "dsw" + good[3:],
		"upper scheme":   "DSV" + good[3:],
		"upper id":       good[:4] + "ABCDEF0123456789" + good[20:],
		"id not hex":     good[:4] + "ghijklmnopqrstuv" + good[20:],
		"padding":        good + "=",
		"short":          good[:63],
		"long":           good + "A",
		"space before":   " " + good[:63],
		"newline after":  good + "\n",
		"newline inside": good[:40] + "\n" + good[40:63],
		"newline extra":  good[:40] + "\n" + good[40:],
		"std alphabet":   good[:21] + "+/" + good[23:],
		"no second dot":  good[:20] + "-" + good[21:],
		"loose bits":     good[:63] + "B",
		"nul":            good[:30] + "\x00" + good[31:],
	}
	for name, text := range bad {
		tok, err := ParseToken([]byte(text))
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if dsv.KindOf(err) != dsv.KindUnauthenticated || tok.ID != "" || tok.Secret.Len() != 0 {
			t.Errorf("%s: %v %v", name, tok, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(NewToken().Text().Reveal())
	f.Add([]byte("dsv.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	f.Add([]byte("dsv.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\nA"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := ParseToken(b)
		if err == nil && !bytes.Equal(tok.Text().Reveal(), b) {
			t.Fatalf("%q is another spelling of a token", b)
		}
	})
}

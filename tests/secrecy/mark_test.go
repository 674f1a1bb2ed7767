package secrecy

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// mark is a text that stands nowhere by chance.
type mark struct {
	what  string // "value", "name", …
	text  string
	forms []form
}

// form is the mark in one encoding.
type form struct {
	name  string
	bytes []byte
}

const markSize = 24

// newMark draws a mark of the alphabet that names and values may both have.
func newMark(what string) mark { return markOf(what, strings.ToLower(rand.Text()[:markSize])) }

// markOf is the mark of a given text.
func markOf(what, text string) mark {
	m := mark{what: what, text: text}
	add := func(name string, b []byte) { m.forms = append(m.forms, form{name, b}) }
	raw := []byte(text)
	add("raw", raw)
	add("hex", []byte(hex.EncodeToString(raw)))
	add("HEX", bytes.ToUpper([]byte(hex.EncodeToString(raw))))
	add("decimal bytes", []byte(strings.Trim(fmt.Sprint(raw), "[]")))
	for shift := range 3 {
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := enc.EncodeToString(append(make([]byte, shift), raw...))
			from, to := (shift*8+5)/6, (shift+len(raw))*8/6 // what neighbours do not change
			add(fmt.Sprint(name, " +", shift), []byte(text[from:to]))
		}
	}
	little, big := []byte{}, []byte{}
	for _, u := range utf16.Encode([]rune(text)) {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	add("UTF-16LE", little)
	add("UTF-16BE", big)
	return m
}

// longest form of some marks.
func longest(marks []mark) (n int) {
	for _, m := range marks {
		for _, f := range m.forms {
			n = max(n, len(f.bytes))
		}
	}
	return n
}

// find lists the marks in b, "" for none.
func find(b []byte, marks []mark) string {
	var all []string
	for _, m := range marks {
		for _, f := range m.forms {
			if i := bytes.Index(b, f.bytes); i >= 0 {
				all = append(all, fmt.Sprintf("%s as %s at byte %d", m.what, f.name, i))
			}
		}
	}
	return strings.Join(all, ", ")
}

// scanner looks for marks in a stream, also across the ends of writes.
type scanner struct {
	marks []mark
	keep  int // bytes of the last writes to look at again
	tail  []byte
	found []string
}

func newScanner(marks []mark) *scanner { return &scanner{marks: marks, keep: longest(marks) - 1} }

func (s *scanner) Write(b []byte) (int, error) {
	joined := append(s.tail, b...)
	if f := find(joined, s.marks); f != "" {
		s.found = append(s.found, f)
	}
	s.tail = append([]byte(nil), joined[max(0, len(joined)-s.keep):]...)
	return len(b), nil
}

var zeros = make([]byte, 1<<20)

// scanFile looks for marks in a file. Long runs of zeros, of which sparse files
// and the ballast consist, cost little.
func scanFile(path string, marks []mark) ([]string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	s, b, size := newScanner(marks), make([]byte, len(zeros)), int64(0)
	for {
		n, err := io.ReadFull(f, b)
		size += int64(n)
		if n > 0 && !(bytes.Equal(b[:n], zeros[:n]) && bytes.Equal(s.tail, zeros[:len(s.tail)])) {
			_, _ = s.Write(b[:n])
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return s.found, size, nil
		case err != nil:
			return nil, size, err
		}
	}
}

// scanTree looks for marks in every file below dir, and in the files' names.
// skip leaves a path out. It returns what was found by path, and how many files
// were read. Files that go while it reads are left out.
func scanTree(dir string, marks []mark, skip func(path string) bool) (map[string][]string, int, error) {
	found, files := map[string][]string{}, 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case skip != nil && skip(p):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if f := find([]byte(p), marks); f != "" {
			found[p] = append(found[p], "in its name: "+f)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		hits, _, err := scanFile(p, marks)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files++
		if len(hits) > 0 {
			found[p] = append(found[p], hits...)
		}
		return err
	})
	return found, files, err
}

// TestMarksAreFound: a mark is found in each encoding, wherever it lies in a
// file, and nothing is found where there is none.
func TestMarksAreFound(t *testing.T) {
	m := newMark("value")
	other := newMark("other")
	raw := []byte(m.text)
	plants := map[string][]byte{"raw": raw, "hex": []byte(hex.EncodeToString(raw)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(raw))),
		"decimal": fmt.Appendf(nil, "%v", append([]byte("x"), raw...)), "json": []byte(`{"v":"a` + m.text + `b"}`)}
	for _, before := range []int{0, 1, 2, 3, 4, 5} {
		for _, after := range []int{0, 1, 2} {
			text := slices.Concat(bytes.Repeat([]byte("~"), before), raw, bytes.Repeat([]byte("?"), after))
			plants[fmt.Sprint("base64 ", before, after)] = []byte(base64.StdEncoding.EncodeToString(text))
			plants[fmt.Sprint("base64url ", before, after)] = []byte(base64.RawURLEncoding.EncodeToString(text))
		}
	}
	wide := utf16.Encode([]rune(m.text))
	for _, u := range wide {
		plants["utf16le"] = append(plants["utf16le"], byte(u), byte(u>>8))
		plants["utf16be"] = append(plants["utf16be"], byte(u>>8), byte(u))
	}
	dir := t.TempDir()
	for name, plant := range plants {
		for _, at := range []int{0, len(zeros) - 7, 3*len(zeros) + 11} { // across a read, and after zeros
			path := filepath.Join(dir, "f")
			if err := os.WriteFile(path, append(make([]byte, at), plant...), 0o600); err != nil {
				t.Fatal(err)
			}
			if hits, _, err := scanFile(path, []mark{other, m}); err != nil || len(hits) == 0 || !strings.Contains(hits[0], "value as") {
				t.Errorf("%s at %d: %q, %v", name, at, hits, err)
			}
			if hits, _, err := scanFile(path, []mark{other}); err != nil || len(hits) > 0 {
				t.Errorf("%s at %d: another mark is found: %q, %v", name, at, hits, err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "is-"+m.text), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if found, _, err := scanTree(dir, []mark{m}, nil); err != nil || len(found) != 2 {
		t.Errorf("in a tree: %v, %v", found, err)
	}
}

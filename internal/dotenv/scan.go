package dotenv

import (
	"bytes"
	"strconv"

	"github.com/dsvault/dsv"
)

// span is a half-open range of bytes.
type span struct{ from, to int }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

// grammar is how a line is read: smart, its template form, or compose.
type grammar struct {
	template     bool   // enc("...") is a value of its own
	tabComment   bool   // a tab before # begins a comment, not only a space
	hashValue    bool   // "A= # x" is "# x", not empty
	singleEscape bool   // \' inside single quotes is a quote
	dollarPair   bool   // $$ outside single quotes is one $
	noTicks      bool   // back-ticks are never active
	keepsCR      bool   // CR LF in quotes is not read as LF
	escapes      string // pairs: the byte behind a back-slash in double quotes, what it stands for
}

const (
	commonEscapes = "n\nr\rt\t\"\"\\\\$$"
	bom           = "\ufeff"
)

var (
	smartGrammar    = grammar{tabComment: true, escapes: commonEscapes + "``"}
	templateGrammar = grammar{template: true, tabComment: true, escapes: commonEscapes + "``"}
	composeGrammar  = grammar{hashValue: true, singleEscape: true, dollarPair: true, noTicks: true, keepsCR: true, escapes: commonEscapes + "a\ab\bf\fv\v"}
)

// statement is one NAME=value or NAME.
type statement struct {
	line   int    // of the name
	all    span   // from the start of its line to behind its last line end
	name   string // never empty
	export bool
	equals bool // it has a =
	alone  bool // it has none, and nothing else
	quote  byte // 0, ' or "
	outer  span // the value with its quotes
	value  span // the value without
	// literal: the value is enc("..."): outer is all of it, value and quote those of the literal
	literal bool
}

type scanner struct {
	grammar
	text   []byte
	pos    int
	line   int
	out    []statement
	faults []dsv.Fault
}

// scan reads the whole text. The values are not decoded.
func (g grammar) scan(text []byte) ([]statement, []dsv.Fault) {
	s := &scanner{grammar: g, text: text, line: 1}
	if bytes.HasPrefix(text, []byte(bom)) {
		s.pos = len(bom)
	}
	for s.pos < len(text) {
		s.statement()
	}
	return s.out, s.faults
}

func (s *scanner) statement() {
	st := statement{line: s.line, all: span{from: s.pos}}
	s.blanks()
	if s.atEnd() || s.text[s.pos] == '#' {
		s.nextLine()
		return
	}
	st.name, st.export = s.name()
	text := "begins with no name: write NAME=value"
	if st.name != "" {
		text = s.assignment(&st)
	}
	if text != "" {
		s.faults = append(s.faults, invalid(st.line, faultName(st), text))
		if s.line == st.line { // else it is behind a value of many lines that was read
			s.pos = st.all.from
		}
	}
	s.nextLine()
	if text == "" {
		st.all.to = s.pos
		s.out = append(s.out, st)
	}
}

// faultName is the name, unless the line is no assignment: then it may be a
// line of a value that lost its quotes, and is not told.
func faultName(st statement) string {
	if !st.equals {
		return ""
	}
	return st.name
}

// name reads an optional export and the name.
func (s *scanner) name() (name string, export bool) {
	name = s.word()
	if name != "export" || s.pos >= len(s.text) || !blank(s.text[s.pos]) {
		return name, false
	}
	behind := s.pos
	s.blanks()
	if next := s.word(); next != "" {
		return next, true
	}
	s.pos = behind // a variable called export
	return name, false
}

func (s *scanner) word() string {
	from := s.pos
	for s.pos < len(s.text) && nameByte(s.text[s.pos]) {
		s.pos++
	}
	return string(s.text[from:s.pos])
}

// assignment reads from behind the name up to the line end; "" or the fault.
func (s *scanner) assignment(st *statement) string {
	name := s.pos
	s.blanks()
	switch {
	case s.atEnd() || s.text[s.pos] == '#' && s.pos > name:
		st.alone = true
		return ""
	case s.text[s.pos] == ':':
		return "has a colon: write NAME=value"
	case s.text[s.pos] != '=':
		return "has no = behind its name, or a character that no name has"
	}
	s.pos++
	st.equals = true
	equals := s.pos
	s.blanks()
	switch {
	case s.atEnd() || s.text[s.pos] == '#' && s.pos > equals && !s.hashValue:
		st.outer = span{s.pos, s.pos}
		if s.pos > equals && !s.atEnd() {
			st.outer = span{equals, equals} // a comment needs its blank
		}
		st.value = st.outer
		return ""
	case s.text[s.pos] == '\'' || s.text[s.pos] == '"':
		return s.quoted(st)
	case s.template && s.isLiteral():
		return s.literal(st)
	}
	s.bare(st)
	return ""
}

func (s *scanner) bare(st *statement) {
	from := s.pos
	for !s.atEnd() {
		if s.text[s.pos] == '#' && s.pos > from && s.commentBlank(s.text[s.pos-1]) {
			break
		}
		s.pos++
	}
	to := s.pos
	for to > from && blank(s.text[to-1]) {
		to--
	}
	st.outer = span{from, to}
	st.value = st.outer
}

func (s *scanner) commentBlank(c byte) bool { return c == ' ' || s.tabComment && c == '\t' }

func (s *scanner) quoted(st *statement) string {
	st.outer.from = s.pos
	if text := s.quotes(st); text != "" {
		return text
	}
	st.outer.to = s.pos
	if s.line > st.line {
		return s.behind("the closing quote, on line " + strconv.Itoa(s.line))
	}
	return s.behind("the closing quote")
}

// quotes reads from a quote to behind the one that closes it.
func (s *scanner) quotes(st *statement) string {
	st.quote = s.text[s.pos]
	escapes := st.quote == '"' || s.singleEscape
	for i := s.pos + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == st.quote:
			st.value = span{s.pos + 1, i}
			s.line += bytes.Count(s.text[s.pos:i], []byte{'\n'})
			s.pos = i + 1
			return ""
		case c == '\\' && escapes && i+1 < len(s.text) && (st.quote == '"' || s.text[i+1] == '\''):
			i++
		}
	}
	return "has a quote that is never closed"
}

// behind makes sure that only blanks and a comment follow.
func (s *scanner) behind(what string) string {
	s.blanks()
	if s.atEnd() || s.text[s.pos] == '#' {
		return ""
	}
	return "has text behind " + what + ": put the whole value in one pair of quotes"
}

// isLiteral reports whether enc( and a quote come next.
func (s *scanner) isLiteral() bool {
	rest := s.text[s.pos:]
	return bytes.HasPrefix(rest, []byte(`enc("`)) || bytes.HasPrefix(rest, []byte(`enc('`))
}

func (s *scanner) literal(st *statement) string {
	st.literal = true
	st.outer.from = s.pos
	s.pos += len("enc(")
	if text := s.quotes(st); text != "" {
		return text
	}
	if s.pos >= len(s.text) || s.text[s.pos] != ')' {
		return "has an enc( whose literal is not followed by )"
	}
	s.pos++
	st.outer.to = s.pos
	return s.behind("enc(...)")
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

func (s *scanner) blanks() {
	for s.pos < len(s.text) && blank(s.text[s.pos]) {
		s.pos++
	}
}

// atEnd reports the end of the line: LF, CR LF, a CR that ends the text, or
// the end of the text.
func (s *scanner) atEnd() bool {
	rest := s.text[s.pos:]
	return len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r' && (len(rest) == 1 || rest[1] == '\n')
}

func (s *scanner) nextLine() {
	if i := bytes.IndexByte(s.text[s.pos:], '\n'); i >= 0 {
		s.pos += i + 1
		s.line++
		return
	}
	s.pos = len(s.text)
}

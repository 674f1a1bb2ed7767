// Package dotenv reads .env files that name secrets, keeps every byte that it
// does not have to change, and writes them with the values filled in. It is a
// leaf: it knows text, not where secrets are kept, and does no I/O.
//
// # The text
//
// A file is lines of NAME=value, NAME alone, comments and blank lines. The
// reading is the one that the common parsers share; what they do not share is
// read like this:
//
//   - A byte order mark, blanks before a name, "export " and blanks around "="
//     are allowed. A name is of [A-Za-z0-9._-] and brackets. NAME alone
//     ("inherit it") is kept and has no value. "NAME: value" is a fault.
//   - An unquoted value ends at the line end or at a blank before "#"; blanks
//     around it do not count. foo#bar and A=#foo are values. Back-ticks and
//     back-slashes are ordinary characters.
//   - A value in single quotes is literal and may span lines.
//   - In double quotes \n, \r, \t, \", \\, \$ and \` are escapes, any other
//     back-slash stands for itself; it may span lines.
//   - Line ends in a quoted value are read as LF, also where they are CRLF.
//   - Only a comment may follow a closing quote.
//   - The last assignment of a name counts.
//
// No command or variable substitution is ever performed: $X, ${X}, $(x) and
// `x` are text. They are recognised, though, so that a value never becomes one:
// outside single quotes they are active, which means that some reader expands
// them.
//
// # References
//
// A value may hold, bare or in quotes, any number of
//
//	secret(NAME)  secret(ns/sub:NAME)  secret(NAME@3)  secret(NAME@2026-01-31T00:00:00Z)
//	enc(NAME)
//
// and may be, as a whole and unquoted, enc("literal"), which stores the literal
// (read like any quoted value) under the line's own name. "secret(" and "enc("
// behind a letter, digit or "_" are text. There is no escape; a reference that
// is not well-formed, or stands inside ${...} or behind $(, $[ or a back-tick that
// is active, is a fault: a shell that sources the file could run its value.
//
// # Dialects
//
// Render fills in values for the reader that will read the file. It writes a
// value in place, escaped for the quotes around it, if the dialect then reads
// what is meant; otherwise it writes the whole value of that line anew, in the
// first of the dialect's forms that is read so; otherwise that line is a fault.
// Then the whole output is read once more and compared. The bytes outside of
// values with references are never touched. Only references are a reason to
// touch a value: a file whose literal lines mean something else to the dialect
// (quotes for docker, say) is not translated, but one that it cannot read is a
// fault.
//
//	smart    bare if it is safe everywhere, also when sourced by a shell;
//	         else 'x'; else "x" with \ " $ ` and line ends escaped. An
//	         unquoted value of many lines that needs no escape gets "x".
//	sh       bare, 'x', "x" with \ " $ ` escaped; line ends are literal
//	docker   docker run --env-file: verbatim, one line, no quotes, no comment
//	         behind a value, no export
//	compose  as smart, but ` means nothing and is not escaped
//	systemd  EnvironmentFile=: bare, "x" with \ " $ ` escaped; no export
//	json     an object of strings; comments and order of repeats are lost
//	yaml     a mapping of strings
//	k8s      a Secret manifest, named by "k8s:NAME"
//
// The last three write all assignments, the literal ones as they are read.
//
// # Round trip
//
// Where the plaintext of enc(NAME) is taken from an assignment of the file,
// that assignment becomes a reference in the quoting (none, single, double)
// under which smart writes back the bytes that were there. There is one for
// values as people write them: bare words and URLs, quoted strings with or
// without escapes, keys of many lines. Where there is none (a bare value with
// blanks, "#", "&" or "$", needless escapes), the value is the same to every
// reader that agreed on the old bytes, but is written with other quotes; Plan
// and Marked name these.
package dotenv

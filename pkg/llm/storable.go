package llm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deeply a stored document may be nested: PostgreSQL parses json recursively and gives up at its stack
// limit, some thousands of levels down.
const maxDepth = 1000

const replacement = "\uFFFD"

// StorableText makes s storable in a text column: NUL and invalid UTF-8 (encoded surrogates included) become U+FFFD, and
// the whole is at most limit bytes. A text that was cut says so at its end, where there is room to.
func StorableText(s string, limit int) string {
	s = strings.ToValidUTF8(s, replacement)
	s = strings.ReplaceAll(s, "\x00", replacement)
	if len(s) <= limit {
		return s
	}
	note := fmt.Sprintf(" [cut: %d bytes in all]", len(s))
	if len(note) > limit {
		note = ""
	}
	end := max(0, limit-len(note))
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + note
}

// StorableJSON makes a JSON document storable in a json column and readable by every operator on it: escapes of NUL and
// of lone surrogates become \ufffd, invalid UTF-8 becomes U+FFFD. All else stays as it is, byte for byte: numbers, order
// of keys, duplicates, white space. A document that cannot be kept (not JSON, longer than limit bytes, or nested too
// deeply) is replaced by a small object that says so: {"not_kept": "...", "bytes": n}.
func StorableJSON(raw json.RawMessage, limit int) json.RawMessage {
	switch {
	case len(raw) > limit:
		return notKept(raw, "longer than the limit of "+strconv.Itoa(limit)+" bytes")
	case !json.Valid(raw):
		return notKept(raw, "not JSON")
	case depth(raw) > maxDepth:
		return notKept(raw, "nested deeper than "+strconv.Itoa(maxDepth)+" levels")
	}
	return replaceEscapes(bytes.ToValidUTF8(raw, []byte(replacement)))
}

func notKept(raw []byte, why string) json.RawMessage {
	return fmt.Appendf(nil, `{"not_kept":%q,"bytes":%d}`, why, len(raw))
}

// depth is the deepest nesting in valid JSON.
func depth(raw []byte) (deepest int) {
	level, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// replaceEscapes rewrites the unwanted \uXXXX in valid JSON, where a backslash occurs only inside strings. It copies
// nothing when there is nothing to replace.
func replaceEscapes(raw []byte) []byte {
	var out []byte
	kept := 0 // raw[:kept] is in out already
	for i := bytes.IndexByte(raw, '\\'); i >= 0 && i < len(raw); {
		n, ok := escape(raw[i:])
		if !ok {
			out = append(out, raw[kept:i]...)
			out = append(out, `\ufffd`...)
			kept = i + n
		}
		next := bytes.IndexByte(raw[i+n:], '\\')
		if next < 0 {
			break
		}
		i += n + next
	}
	if kept == 0 {
		return raw
	}
	return append(out, raw[kept:]...)
}

// escape gives the length of the escape that b begins with, a surrogate pair being one, and whether it may stay.
func escape(b []byte) (length int, ok bool) {
	if b[1] != 'u' {
		return 2, true
	}
	r := hex4(b[2:])
	if !utf16.IsSurrogate(r) {
		return 6, r != 0
	}
	if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' && utf16.DecodeRune(r, hex4(b[8:])) != utf8.RuneError {
		return 12, true
	}
	return 6, false
}

func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16) // valid JSON: four hex digits
	return rune(n)
}

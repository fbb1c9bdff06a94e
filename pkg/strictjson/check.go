package strictjson

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Rules say how strict to be.
type Rules struct {
	// Root is put in front of every field of an Error: "payload" where the
	// document is the payload of something larger.
	Root string
	// MaxDepth is how many arrays and objects may stand inside one another, the
	// document itself counted. 0: no limit but the parser's own of 10,000.
	MaxDepth int
	// Unique names the objects whose members must have names of their own: "" is
	// the document itself, "payload.request" a member of a member, "[*]" every
	// element of an array. Elsewhere duplicates are the sender's business.
	Unique []string
}

// Check reports, as an *Error, the first reason why raw cannot be kept and sent
// truly: it is not one JSON value and nothing else, is not valid UTF-8, holds
// \u0000 or a lone surrogate, or a number that does not fit a float64, is nested
// too deeply, or repeats a name where Rules forbid it.
//
// It reads raw once and neither changes nor keeps it. Besides the names where
// they must be unique, it allocates next to nothing.
func Check(raw []byte, rules Rules) error {
	c := checker{rules: rules, dec: newDecoder(raw)}
	for _, pattern := range rules.Unique {
		c.unique = append(c.unique, parsePattern(pattern))
	}
	if bytes.HasPrefix(raw, byteOrderMark) {
		return c.errorf("must not begin with a byte order mark")
	}
	if err := c.document(); err != nil {
		return err // not returned directly: a nil *Error is not a nil error
	}
	return nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// newDecoder reads raw in place: jsontext parses a bytes.Buffer without copying.
// Duplicate names are left to the checker, which knows where they matter.
func newDecoder(raw []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
}

type checker struct {
	rules  Rules
	unique [][]string
	dec    *jsontext.Decoder
	path   path
}

func (c *checker) errorf(format string, args ...any) *Error {
	return Errorf(c.path.field(c.rules.Root), format, args...)
}

// document walks over the one value of the document, token by token.
func (c *checker) document() *Error {
	for first := true; first || len(c.path) > 0; first = false {
		if err := c.token(); err != nil {
			return err
		}
	}
	return c.end()
}

// end makes sure that nothing follows the document.
func (c *checker) end() *Error {
	if _, err := c.dec.ReadToken(); err != io.EOF {
		return c.errorf("must be one JSON value with nothing after it")
	}
	return nil
}

// token reads the next token. Members' names and scalars are read as values,
// because only that gives their bytes as they were sent.
func (c *checker) token() *Error {
	kind := c.dec.PeekKind()
	switch kind {
	case '{', '[':
		c.nextElement()
		return c.open(kind)
	case '}', ']':
		if _, err := c.dec.ReadToken(); err != nil {
			return c.syntax(err)
		}
		c.path = c.path[:len(c.path)-1]
		return nil
	}
	isName := c.atName()
	if !isName {
		c.nextElement()
	}
	raw, err := c.dec.ReadValue()
	switch {
	case err != nil:
		return c.syntax(err)
	case isName:
		return c.name(raw)
	case kind == '"':
		return c.text(raw)
	case kind == '0':
		return c.number(raw)
	}
	return nil // true, false, null
}

// atName reports whether the next string is the name of a member.
func (c *checker) atName() bool {
	kind, length := c.dec.StackIndex(c.dec.StackDepth())
	return kind == '{' && length%2 == 0
}

// nextElement moves the path on to the value that comes next.
func (c *checker) nextElement() {
	if n := len(c.path); n > 0 && !c.path[n-1].object {
		c.path[n-1].index++
	}
}

func (c *checker) open(kind jsontext.Kind) *Error {
	if _, err := c.dec.ReadToken(); err != nil {
		return c.syntax(err)
	}
	if c.rules.MaxDepth > 0 && len(c.path) >= c.rules.MaxDepth {
		return c.errorf("must not be nested more than %d levels deep", c.rules.MaxDepth)
	}
	f := frame{object: kind == '{', index: -1}
	for _, pattern := range c.unique {
		if f.object && c.path.matches(pattern) {
			f.seen = map[string]struct{}{}
		}
	}
	c.path = append(c.path, f)
	return nil
}

// name takes the name of a member. raw is a slice of the document, so it stays
// valid while the decoder moves on.
func (c *checker) name(raw []byte) *Error {
	f := &c.path[len(c.path)-1]
	f.name = raw
	if hasNUL(raw) {
		return c.errorf(`must not have \u0000 in its name`)
	}
	if f.seen == nil {
		return nil
	}
	name := unquote(raw)
	if _, duplicate := f.seen[name]; duplicate {
		return c.errorf("must not be given twice")
	}
	f.seen[name] = struct{}{}
	return nil
}

func (c *checker) text(raw []byte) *Error {
	if hasNUL(raw) {
		return c.errorf(`must not contain \u0000`)
	}
	return nil
}

// hasNUL finds the escape \u0000 in a valid JSON string. In \\u0000 the backslash
// itself is escaped, and the rest is plain text.
func hasNUL(raw []byte) bool {
	const escape = `\u0000`
	for {
		i := bytes.Index(raw, []byte(escape))
		if i < 0 {
			return false
		}
		slashes := 0
		for slashes < i && raw[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return true
		}
		raw = raw[i+len(escape):]
	}
}

// maxPlainDigits is a length below which a number without an exponent is certain
// to fit a float64, whose largest is near 1.8e308.
const maxPlainDigits = 300

func (c *checker) number(raw []byte) *Error {
	if len(raw) < maxPlainDigits && !bytes.ContainsAny(raw, "eE") {
		return nil
	}
	if f, err := strconv.ParseFloat(string(raw), 64); err != nil || math.IsInf(f, 0) {
		return c.errorf("must fit a 64-bit floating-point number")
	}
	return nil
}

// syntax turns an error of the parser into one for the sender.
func (c *checker) syntax(err error) *Error {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.EOF) && len(c.path) == 0:
		return c.errorf("must be JSON, but is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return c.errorf("must be valid JSON, but ends in the middle")
	case errors.As(err, &syntactic):
		// The parser has no error value for invalid UTF-8 and lone surrogates.
		text := syntactic.Err.Error()
		if strings.HasPrefix(text, "invalid UTF-8") || strings.HasPrefix(text, "invalid surrogate pair") {
			return c.errorf("must be valid UTF-8 without lone surrogates (byte %d)", syntactic.ByteOffset)
		}
		return c.errorf("must be valid JSON: %s (byte %d)", text, syntactic.ByteOffset)
	default:
		return c.errorf("must be valid JSON")
	}
}

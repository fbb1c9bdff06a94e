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
}

// Check reports, as an *Error, the first reason why raw cannot be kept and sent
// truly: it is not one JSON value and nothing else, is not valid UTF-8, holds
// \u0000 or a lone surrogate, or a number that does not fit a float64, or is
// nested too deeply. Names that are given twice are Unique's.
//
// It neither changes nor keeps raw, and allocates next to nothing.
func Check(raw []byte, rules Rules) error {
	if harmless(raw, rules.MaxDepth) {
		return nil
	}
	if err := walk(raw, rules); err != nil {
		return err // not returned directly: a nil *Error is not a nil error
	}
	return nil
}

// harmless tells at a glance what walk tells token by token and with a place. It
// may doubt a document that walk lets pass, and never the other way round.
func harmless(raw []byte, maxDepth int) bool {
	return !bytes.Contains(raw, escapedNUL) && jsontext.Value(raw).IsValid(jsontext.AllowDuplicateNames(true)) && simple(raw, maxDepth)
}

var escapedNUL = []byte(`\u0000`)

// simple tells whether a valid document is within the depth (0: any), and has no
// number with an exponent or so many digits that it might be too large.
func simple(raw []byte, maxDepth int) bool {
	depth, digits := 0, 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '"':
			i = closingQuote(raw, i)
			continue
		case '{', '[':
			if depth++; depth > maxDepth && maxDepth > 0 {
				return false
			}
		case '}', ']':
			depth--
		case 'e', 'E':
			if digits > 0 {
				return false
			}
		case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '.':
			if digits++; digits >= maxPlainDigits {
				return false
			}
			continue
		}
		digits = 0
	}
	return true
}

// closingQuote finds the end of the valid string that begins at i.
func closingQuote(raw []byte, i int) int {
	for {
		i += 1 + bytes.IndexByte(raw[i+1:], '"')
		if !escaped(raw, i) {
			return i
		}
	}
}

// escaped tells whether the character at i of a string has a backslash of its own in front.
func escaped(raw []byte, i int) bool {
	slashes := 0
	for slashes < i && raw[i-1-slashes] == '\\' {
		slashes++
	}
	return slashes%2 == 1
}

func walk(raw []byte, rules Rules) *Error {
	c := checker{rules: rules, dec: newDecoder(raw)}
	if bytes.HasPrefix(raw, byteOrderMark) {
		return c.errorf("must not begin with a byte order mark")
	}
	return c.document()
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// newDecoder reads raw in place: jsontext parses a bytes.Buffer without copying.
// Duplicate names are left to Unique: most are the sender's business.
func newDecoder(raw []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true))
}

type checker struct {
	rules Rules
	dec   *jsontext.Decoder
	path  path
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
	c.path = append(c.path, frame{object: kind == '{', index: -1})
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
	for {
		i := bytes.Index(raw, escapedNUL)
		if i < 0 {
			return false
		}
		if !escaped(raw, i) {
			return true
		}
		raw = raw[i+len(escapedNUL):]
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

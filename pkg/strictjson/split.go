package strictjson

import (
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// Member is one member of an object.
type Member struct {
	Name  string          // without its escapes
	Value json.RawMessage // the bytes as they were sent, without the space around them

	name []byte // as it was sent
}

// Text is the text of a value that is a string.
func (m Member) Text() (text string, ok bool) {
	if m.Value[0] != '"' {
		return "", false
	}
	return unquote(m.Value), true
}

// Members returns the members of the object raw, in order and with duplicates.
// Their values are slices of raw. It reports an *Error where raw is no object
// or no JSON; the rest of the strict rules is Check's and Unique's.
func Members(raw []byte) ([]Member, error) {
	c, err := enter(raw, '{')
	if err != nil {
		return nil, err
	}
	var members []Member
	for c.dec.PeekKind() != '}' {
		name, err := c.dec.ReadValue()
		if err != nil {
			return nil, c.at(raw, err)
		}
		member := Member{Name: unquote(name), name: name}
		if member.Value, err = c.value(raw); err != nil {
			return nil, c.at(raw, err)
		}
		members = append(members, member)
	}
	return members, c.leave(raw)
}

// Unique reports, as an *Error, the first of members whose name was given before.
// Its field is the name, after root as in Rules.
func Unique(root string, members []Member) error {
	seen := make(map[string]struct{}, len(members))
	for _, m := range members {
		if _, twice := seen[m.Name]; twice {
			return Errorf(path{{object: true, name: m.name}}.field(root), "must not be given twice")
		}
		seen[m.Name] = struct{}{}
	}
	return nil
}

// Elements returns the elements of the array raw as slices of it. It reports an
// *Error where raw is no array or has more than limit elements; a small document
// can have very many, so the limit is checked while reading.
func Elements(raw []byte, limit int) ([]json.RawMessage, error) {
	c, err := enter(raw, '[')
	if err != nil {
		return nil, err
	}
	var elements []json.RawMessage
	for c.dec.PeekKind() != ']' {
		if len(elements) == limit {
			return nil, c.errorf("must have at most %d elements", limit)
		}
		element, err := c.value(raw)
		if err != nil {
			return nil, c.at(raw, err)
		}
		elements = append(elements, element)
	}
	return elements, c.leave(raw)
}

// enter opens the document's object or array.
func enter(raw []byte, kind jsontext.Kind) (*checker, error) {
	c := &checker{dec: newDecoder(raw)}
	if got := c.dec.PeekKind(); got != kind {
		if _, err := c.dec.ReadToken(); err != nil {
			return nil, c.at(raw, err)
		}
		if kind == '{' {
			return nil, c.errorf("must be an object")
		}
		return nil, c.errorf("must be an array")
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return nil, c.at(raw, err)
	}
	return c, nil
}

// value reads the next value as a slice of raw.
func (c *checker) value(raw []byte) (json.RawMessage, error) {
	v, err := c.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(c.dec.InputOffset())
	return json.RawMessage(raw[end-len(v) : end : end]), nil
}

// leave closes the document's object or array and makes sure that it is all.
func (c *checker) leave(raw []byte) error {
	if _, err := c.dec.ReadToken(); err != nil {
		return c.at(raw, err)
	}
	if err := c.end(); err != nil {
		return err
	}
	return nil
}

// at is the parser's error with the place that only a walk knows: whole values are read here.
func (c *checker) at(raw []byte, err error) error {
	if placed := walk(raw, Rules{}); placed != nil {
		return placed
	}
	return c.syntax(err)
}

package strictjson

import (
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// Member is one member of an object.
type Member struct {
	Name  string          // without its escapes
	Value json.RawMessage // the bytes as they were sent, without the space around them
}

// Members returns the members of the object raw, in order and with duplicates.
// Their values are slices of raw. It reports an *Error where raw is no object;
// the strict rules are Check's.
func Members(raw []byte) ([]Member, error) {
	c, err := enter(raw, '{')
	if err != nil {
		return nil, err
	}
	var members []Member
	for c.dec.PeekKind() != '}' {
		name, err := c.dec.ReadValue()
		if err != nil {
			return nil, c.syntax(err)
		}
		member := Member{Name: unquote(name)}
		if member.Value, err = c.value(raw); err != nil {
			return nil, c.syntax(err)
		}
		members = append(members, member)
	}
	return members, c.leave()
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
			return nil, c.syntax(err)
		}
		elements = append(elements, element)
	}
	return elements, c.leave()
}

// enter opens the document's object or array.
func enter(raw []byte, kind jsontext.Kind) (*checker, error) {
	c := &checker{dec: newDecoder(raw)}
	if got := c.dec.PeekKind(); got != kind {
		if _, err := c.dec.ReadToken(); err != nil {
			return nil, c.syntax(err)
		}
		if kind == '{' {
			return nil, c.errorf("must be an object")
		}
		return nil, c.errorf("must be an array")
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return nil, c.syntax(err)
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
func (c *checker) leave() error {
	if _, err := c.dec.ReadToken(); err != nil {
		return c.syntax(err)
	}
	if err := c.end(); err != nil {
		return err
	}
	return nil
}

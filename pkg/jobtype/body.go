package jobtype

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

// Body returns the body of the request to the provider for a payload: model; the
// type's default fields that the payload's request does not set; the fields of
// the payload's request in their order; instructions, with the policy in front;
// and input. Nothing else of the payload is sent. The same payload always gives
// the same bytes.
//
// It does Check's checks itself: a payload may have come in by SQL. A custom
// type, whose handler makes its own request, has no body.
func (t Type) Body(payload json.RawMessage) (json.RawMessage, error) {
	if t.Custom {
		return nil, strictjson.Errorf("type", "%s has a handler of its own", t.Name)
	}
	p, err := t.parse(payload)
	if err != nil {
		return nil, err
	}
	defaults, err := t.defaults(p.request)
	if err != nil {
		return nil, err
	}

	var body bytes.Buffer
	body.Grow(len(payload) + len(t.Request) + 2*len(t.Policy) + 64)
	body.WriteString(`{"model":`)
	body.Write(quote(p.model))

	var instructions json.RawMessage
	for _, m := range append(defaults, p.request...) {
		switch m.Name {
		case "model":
		case "instructions":
			instructions = m.Value
		default:
			put(&body, m.Name, m.Value)
		}
	}
	if text := inFront(t.Policy, instructions); text != nil {
		put(&body, "instructions", text)
	}
	put(&body, "input", p.input)
	body.WriteByte('}')
	return body.Bytes(), nil
}

// defaults returns the fields of the type's request that are not set.
func (t Type) defaults(set []strictjson.Member) ([]strictjson.Member, error) {
	if t.Request == nil {
		return nil, nil
	}
	all, err := strictjson.Members(t.Request)
	if err != nil {
		return nil, err
	}
	isSet := make(map[string]bool, len(set))
	for _, m := range set {
		isSet[m.Name] = true
	}
	var defaults []strictjson.Member
	for _, m := range all {
		if !isSet[m.Name] {
			defaults = append(defaults, m)
		}
	}
	return defaults, nil
}

// inFront puts a policy in front of instructions, a blank line between them. The
// instructions are spliced in as they were written, escapes and all; nil is none.
func inFront(policy string, instructions json.RawMessage) json.RawMessage {
	if policy == "" {
		return instructions
	}
	if instructions == nil || kind(instructions) != '"' || empty(instructions) {
		return quote(policy)
	}
	quoted := quote(policy)
	text := append(quoted[:len(quoted)-1], `\n\n`...)
	return append(text, instructions[1:]...)
}

func put(body *bytes.Buffer, name string, value json.RawMessage) {
	body.WriteByte(',')
	body.Write(quote(name))
	body.WriteByte(':')
	body.Write(value)
}

// quote writes text as a JSON string. Its only error is invalid UTF-8, which it
// replaces.
func quote(text string) json.RawMessage {
	quoted, _ := jsontext.AppendQuote(nil, text)
	return json.RawMessage(quoted)
}

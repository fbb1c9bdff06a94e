package jobtype

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

// ours are the fields of the provider's request that a payload must not set
// under request: the first two have places of their own in a payload, and a
// worker reads one whole answer, which the others would change.
var ours = []string{"input", "messages", "stream", "background"}

// Check reports, as a *strictjson.Error whose field begins with "payload", the
// first reason why payload is none for a job of type t, and returns the model
// that it asks for. It does all the strict checks, so nothing else needs to.
func (t Type) Check(payload json.RawMessage) (model string, err error) {
	p, err := t.parse(payload)
	if err != nil {
		return "", err
	}
	return p.model, nil
}

// parsed is a payload taken apart; the values are slices of it.
type parsed struct {
	model   string
	request []strictjson.Member // the members of the payload's request
	input   json.RawMessage     // messages or input
}

func (t Type) parse(payload json.RawMessage) (parsed, error) {
	if len(payload) > MaxPayloadBytes {
		return parsed{}, strictjson.Errorf("payload", "must be at most %d bytes", MaxPayloadBytes)
	}
	if err := strictjson.Check(payload, strictjson.Rules{Root: "payload", MaxDepth: MaxPayloadDepth}); err != nil {
		return parsed{}, err
	}
	if kind(payload) != '{' {
		return parsed{}, strictjson.Errorf("payload", "must be an object")
	}
	if t.Custom {
		return parsed{model: t.Model}, nil
	}
	return t.parseRequest(payload)
}

// parseRequest takes a valid payload of the built-in handler apart.
func (t Type) parseRequest(payload json.RawMessage) (parsed, error) {
	p := parsed{model: t.Model}
	found, err := known(payload)
	if err != nil {
		return p, err
	}
	if p.input, err = input(found); err != nil {
		return p, err
	}
	request, given := found["request"]
	if !given {
		return p, nil
	}
	if kind(request) != '{' {
		return p, strictjson.Errorf("payload.request", "must be an object")
	}
	if p.request, err = strictjson.Members(request); err != nil {
		return p, err
	}
	if err := strictjson.Unique("payload.request", p.request); err != nil {
		return p, err
	}
	for _, m := range p.request {
		if slices.Contains(ours, m.Name) {
			return p, strictjson.Errorf("payload.request."+m.Name, "must not be set here: %s", insteadOf(m.Name))
		}
		switch m.Name {
		case "model":
			p.model, err = t.allowed(m)
		case "instructions":
			err = checkInstructions("payload.request.instructions", m.Value)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// known returns the three members of a payload that mean something to us; the
// rest is the application's own. It refuses to choose between two of a name.
func known(payload json.RawMessage) (map[string]json.RawMessage, error) {
	members, err := strictjson.Members(payload)
	if err != nil {
		return nil, err
	}
	found := map[string]json.RawMessage{}
	for _, m := range members {
		switch m.Name {
		case "messages", "input", "request":
			if _, twice := found[m.Name]; twice {
				return nil, strictjson.Errorf("payload."+m.Name, "must not be given twice")
			}
			found[m.Name] = m.Value
		}
	}
	return found, nil
}

// input returns what is sent as the request's input.
func input(found map[string]json.RawMessage) (json.RawMessage, error) {
	messages, hasMessages := found["messages"]
	input, hasInput := found["input"]
	switch {
	case hasMessages && hasInput:
		return nil, strictjson.Errorf("payload", "must have messages or input, not both")
	case hasMessages && (kind(messages) != '[' || empty(messages)):
		return nil, strictjson.Errorf("payload.messages", "must be an array that is not empty")
	case hasMessages:
		return messages, nil
	case !hasInput:
		return nil, strictjson.Errorf("payload", "must have messages or input")
	case kind(input) != '[' && kind(input) != '"' || empty(input):
		return nil, strictjson.Errorf("payload.input", "must be a string or an array that is not empty")
	default:
		return input, nil
	}
}

// allowed returns the model that a payload asks for, if it may.
func (t Type) allowed(value strictjson.Member) (string, error) {
	const field = "payload.request.model"
	model, ok := value.Text()
	if !ok {
		return "", strictjson.Errorf(field, "must be a string")
	}
	if model != t.Model && !slices.Contains(t.Models, model) {
		models := slices.Concat([]string{t.Model}, t.Models)
		return "", strictjson.Errorf(field, "must be a model that is configured for type %s: %s", t.Name, strings.Join(models, ", "))
	}
	return model, nil
}

// checkInstructions makes sure that a policy can go in front of instructions.
func checkInstructions(field string, value json.RawMessage) error {
	if k := kind(value); k != '"' && k != 'n' {
		return strictjson.Errorf(field, "must be a string or null")
	}
	return nil
}

func insteadOf(name string) string {
	switch name {
	case "input", "messages":
		return "it is a member of the payload itself"
	default:
		return "the whole answer is stored when it is there"
	}
}

// checkDefaults judges a type's default request.
func checkDefaults(request json.RawMessage) error {
	const root = "request"
	if len(request) > MaxRequestBytes {
		return strictjson.Errorf(root, "must be at most %d bytes", MaxRequestBytes)
	}
	if err := strictjson.Check(request, strictjson.Rules{Root: root, MaxDepth: MaxPayloadDepth}); err != nil {
		return err
	}
	if kind(request) != '{' {
		return strictjson.Errorf(root, "must be an object")
	}
	members, err := strictjson.Members(request)
	if err != nil {
		return err
	}
	if err := strictjson.Unique(root, members); err != nil {
		return err
	}
	for _, m := range members {
		switch {
		case slices.Contains(ours, m.Name):
			return strictjson.Errorf(root+"."+m.Name, "must not be set here: %s", insteadOf(m.Name))
		case m.Name == "model":
			return strictjson.Errorf(root+".model", "must not be set here: the type has a key for it")
		case m.Name == "instructions":
			if err := checkInstructions(root+".instructions", m.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// kind tells what a valid value is by its first letter: '{', '[', '"', 'n' for
// null, ...
func kind(value json.RawMessage) jsontext.Kind { return jsontext.Value(value).Kind() }

// empty reports whether a valid array or string has nothing in it.
func empty(value json.RawMessage) bool {
	inner := value[1 : len(value)-1]
	if kind(value) == '[' {
		inner = bytes.TrimSpace(inner)
	}
	return len(inner) == 0
}

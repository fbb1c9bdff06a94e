package jobtype

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// charactersPerToken is how OpenAI estimates before it counts.
const charactersPerToken = 4

// Cost is what a payload tells of the tokens that a call will take. The zero value tells nothing.
type Cost struct {
	Characters int     // of instructions and input
	Most       float64 // max_output_tokens; 0: not given
}

// Input estimates the tokens of instructions and input: a quarter of the characters.
func (c Cost) Input() float64 { return float64(c.Characters / charactersPerToken) }

// Charge is what OpenAI says that it takes when it admits the call: the larger of max_output_tokens and a quarter of the
// characters, and at least 1. https://platform.openai.com/docs/guides/rate-limits
func (c Cost) Charge() float64 { return max(c.Most, c.Input(), 1) }

// Cost reads what a payload tells of its cost. It is the zero Cost for a custom type, whose request nobody knows, and for
// a payload that will be refused before it is sent.
func (t Type) Cost(payload json.RawMessage) Cost {
	if t.Custom {
		return Cost{}
	}
	p, err := t.parse(payload)
	if err != nil {
		return Cost{}
	}
	defaults, err := t.defaults(p.request)
	if err != nil {
		return Cost{}
	}
	c := Cost{Characters: utf8.RuneCount(p.input) + utf8.RuneCountInString(t.Policy)}
	for _, m := range append(defaults, p.request...) {
		switch m.Name {
		case "instructions":
			c.Characters += utf8.RuneCount(m.Value)
		case "max_output_tokens":
			c.Most, _ = strconv.ParseFloat(string(m.Value), 64)
		}
	}
	return c
}

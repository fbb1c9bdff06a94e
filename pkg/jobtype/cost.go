package jobtype

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// charactersPerToken is how OpenAI estimates before it counts.
const charactersPerToken = 4

// Cost estimates what a provider charges for a payload when it admits the call, in tokens: the larger of
// max_output_tokens and a quarter of the characters of instructions and input. It is a guess, at least 1, and 0 for a
// custom type, whose request nobody knows. https://platform.openai.com/docs/guides/rate-limits
func (t Type) Cost(payload json.RawMessage) float64 {
	if t.Custom {
		return 0
	}
	p, err := t.parse(payload)
	if err != nil {
		return 1 // it will be refused before it is sent
	}
	characters := utf8.RuneCount(p.input) + utf8.RuneCountInString(t.Policy)
	var most float64 // max_output_tokens
	defaults, err := t.defaults(p.request)
	if err != nil {
		return 1
	}
	for _, m := range append(defaults, p.request...) {
		switch m.Name {
		case "instructions":
			characters += utf8.RuneCount(m.Value)
		case "max_output_tokens":
			most, _ = strconv.ParseFloat(string(m.Value), 64)
		}
	}
	return max(most, float64(characters/charactersPerToken), 1)
}

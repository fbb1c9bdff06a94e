package llmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// request is what the simulator reads of a request body.
type request struct {
	Model           string
	Instructions    string
	Input           json.RawMessage
	MaxOutputTokens int64
	Stream          bool
	Metadata        map[string]string
}

// types are the known parameters of POST /v1/responses and the JSON types they take: s(tring), n(umber), b(oolean),
// o(bject), a(rray). Null is always allowed.
var types = map[string]string{
	"access_programs": "oa", "background": "b", "context_management": "oa", "conversation": "so", "include": "a", "input": "sa",
	"instructions": "sa", "max_output_tokens": "n", "max_tool_calls": "n", "metadata": "o", "model": "s", "moderation": "o",
	"parallel_tool_calls": "b", "previous_response_id": "s", "prompt": "o", "prompt_cache_key": "s", "prompt_cache_options": "o",
	"prompt_cache_retention": "s", "reasoning": "o", "safety_identifier": "s", "service_tier": "s", "store": "b", "stream": "b",
	"stream_options": "o", "temperature": "n", "text": "o", "tool_choice": "so", "tools": "a", "top_logprobs": "n", "top_p": "n",
	"truncation": "s", "user": "s",
}

var typeNames = map[byte]string{'s': "a string", 'n': "a number", 'b': "a boolean", 'o': "an object", 'a': "an array"}

// parse reads a request body, or says what is wrong with it as the provider would.
func parse(raw []byte) (request, *refusal) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return request{}, invalid("", "", "We could not parse the JSON body of your request.")
	}
	for _, name := range sorted(members) {
		if bad := checkMember(name, members[name]); bad != nil {
			return request{}, bad
		}
	}
	r := request{Input: members["input"]}
	for name, target := range map[string]any{"model": &r.Model, "instructions": &r.Instructions, "max_output_tokens": &r.MaxOutputTokens, "stream": &r.Stream, "metadata": &r.Metadata} {
		if value, given := members[name]; given {
			_ = json.Unmarshal(value, target) // what does not fit is left out: only its type was promised
		}
	}
	switch {
	case r.Model == "":
		return r, invalid("model", "missing_required_parameter", "Missing required parameter: 'model'.")
	case len(r.Input) == 0 || string(r.Input) == "null":
		return r, invalid("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	return r, nil
}

func checkMember(name string, value json.RawMessage) *refusal {
	allowed, known := types[name]
	if !known {
		return invalid(name, "unknown_parameter", fmt.Sprintf("Unknown parameter: '%s'.", name))
	}
	if got := typeOf(value); got != 0 && !strings.Contains(allowed, string(got)) {
		return invalid(name, "invalid_type", fmt.Sprintf("Invalid type for '%s': expected %s, but got %s instead.", name, typeNames[allowed[0]], typeNames[got]))
	}
	return nil
}

func invalid(param, code, message string) *refusal {
	return &refusal{status: http.StatusBadRequest, errorType: "invalid_request_error", code: code, param: param, message: message}
}

// typeOf gives the letter of a JSON value's type, 0 for null.
func typeOf(value json.RawMessage) byte {
	switch value[0] {
	case '"':
		return 's'
	case '{':
		return 'o'
	case '[':
		return 'a'
	case 't', 'f':
		return 'b'
	case 'n':
		return 0
	}
	return 'n'
}

// Charge is what the limiter takes for a request at its admission, in tokens: the larger of max_output_tokens and a
// quarter of the characters of input and instructions.
func (r request) charge() int64 {
	return max(r.MaxOutputTokens, r.estimate())
}

func (r request) estimate() int64 {
	return max(1, int64(utf8.RuneCount(r.Input)+utf8.RuneCountInString(r.Instructions))/4)
}

var directive = regexp.MustCompile(`\[\[sim:([a-z0-9_]+)\]\]`)

// mode is the fate the request chose for itself, or "".
func (r request) mode() string {
	if mode := r.Metadata["sim"]; mode != "" {
		return mode
	}
	if found := directive.FindSubmatch(r.Input); found != nil {
		return string(found[1])
	}
	return ""
}

// lastText is the text of the input, or of its last item that has one.
func (r request) lastText() string {
	var s string
	if json.Unmarshal(r.Input, &s) == nil {
		return s
	}
	var items []struct{ Content json.RawMessage }
	_ = json.Unmarshal(r.Input, &items)
	for _, item := range slices.Backward(items) {
		if text := contentText(item.Content); text != "" {
			return text
		}
	}
	return ""
}

func contentText(content json.RawMessage) string {
	if !bytes.HasPrefix(content, []byte("[")) {
		var s string
		_ = json.Unmarshal(content, &s)
		return s
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(content, &parts)
	var text strings.Builder
	for _, part := range parts {
		text.WriteString(part.Text)
	}
	return text.String()
}

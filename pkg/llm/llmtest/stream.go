package llmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxDeltas    = 8  // pieces that a text is streamed in
	quotedLength = 60 // characters of the input that the answer quotes
)

// response is the API's response object.
type response struct {
	ID                string            `json:"id"`
	Object            string            `json:"object"`
	CreatedAt         int64             `json:"created_at"`
	Status            string            `json:"status"`
	Error             *responseError    `json:"error"`
	IncompleteDetails *incomplete       `json:"incomplete_details"`
	MaxOutputTokens   *int64            `json:"max_output_tokens"`
	Model             string            `json:"model"`
	Output            []message         `json:"output"`
	Usage             *responseUsage    `json:"usage"`
	Metadata          map[string]string `json:"metadata"`
}

type responseError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type message struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Status  string `json:"status"`
	Role    string `json:"role"`
	Content []part `json:"content"`
}

type part struct {
	Type        string `json:"type"`
	Text        string `json:"text"`
	Annotations []any  `json:"annotations"`
}

type responseUsage struct {
	InputTokens        int64         `json:"input_tokens"`
	InputTokensDetails inputDetails  `json:"input_tokens_details"`
	OutputTokens       int64         `json:"output_tokens"`
	OutputDetails      outputDetails `json:"output_tokens_details"`
	TotalTokens        int64         `json:"total_tokens"`
}

type inputDetails struct {
	CachedTokens int64 `json:"cached_tokens"`
}

type outputDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

// begun is the response object of a call just accepted.
func (x *exchange) begun() response {
	r := response{
		ID:        fmt.Sprintf("resp_sim_%d", x.call.Number),
		Object:    "response",
		CreatedAt: x.clock().Unix(),
		Status:    "in_progress",
		Model:     x.req.Model,
		Output:    []message{},
		Metadata:  x.req.Metadata,
	}
	if x.req.MaxOutputTokens > 0 {
		r.MaxOutputTokens = &x.req.MaxOutputTokens
	}
	return r
}

// ended is the response object at the end of the call.
func (x *exchange) ended(how ending, text string) response {
	r := x.begun()
	input, output := x.req.estimate(), max(1, int64(utf8.RuneCountInString(text))/4)
	r.Usage = &responseUsage{InputTokens: input, OutputTokens: output, TotalTokens: input + output}
	switch how {
	case endFailed:
		r.Status, r.Error = "failed", &responseError{"server_error", "The model failed to generate a response."}
		return r
	case endFailedQuota:
		r.Status, r.Error = "failed", &responseError{"rate_limit_exceeded", "Rate limit reached. Please try again in 1s."}
		return r
	case endIncomplete:
		r.Status, r.IncompleteDetails = "incomplete", &incomplete{"max_output_tokens"}
	default:
		r.Status = "completed"
	}
	r.Output = []message{x.message(r.Status, text)}
	return r
}

func (x *exchange) message(status, text string) message {
	m := message{ID: fmt.Sprintf("msg_sim_%d", x.call.Number), Type: "message", Status: status, Role: "assistant", Content: []part{}}
	if status != "in_progress" {
		m.Content = append(m.Content, textPart(text))
	}
	return m
}

func textPart(text string) part { return part{Type: "output_text", Text: text, Annotations: []any{}} }

// text is the answer: a sentence that quotes how the input begins, repeated to the length asked for.
func (x *exchange) text() string {
	quoted := []rune(x.req.lastText())
	sentence := fmt.Sprintf("The simulator read: %q.", string(quoted[:min(len(quoted), quotedLength)]))
	size := int(x.script.OutputBytes)
	if size == 0 {
		return sentence
	}
	long := strings.Repeat(sentence+" ", size/(len(sentence)+1)+1)
	return strings.ToValidUTF8(long[:size], "?") // the cut may go through a character
}

// object answers a request that asked for no stream. Endings that break a stream break it off in the middle.
func (x *exchange) object(how ending) {
	switch how {
	case endHangStream:
		x.hang()
		return
	case endErrorEvent, endStreamError:
		how = endFailed
	}
	body, _ := json.Marshal(x.ended(how, x.text()))
	x.writeHeader(200, "application/json")
	if how == endCut || how == endResetStream {
		_ = x.write(body[:len(body)/2]) && x.flush()
		x.reset()
		return
	}
	x.deliver(body)
}

// stream answers with events, as far as the ending lets it come.
func (x *exchange) stream(how ending) {
	events := x.events(how)
	breaks := len(events)
	switch how {
	case endHangStream, endCut, endResetStream, endErrorEvent, endStreamError:
		breaks = min(x.script.cutAfter(), len(events)-1)
	}
	x.writeHeader(200, "text/event-stream; charset=utf-8")
	for i, event := range events[:breaks] {
		if i == len(events)-1 {
			x.deliver(event)
		} else if !x.send(event, i == 0) {
			return
		}
	}
	x.breakOff(how, breaks)
}

// send writes an event that is not the last, and waits as long as is due after it; false when the client has left.
func (x *exchange) send(event []byte, first bool) bool {
	delay := time.Duration(x.script.EventDelayMS) * time.Millisecond
	if !x.write(event) {
		return false
	}
	if (first || delay > 0) && !x.flush() {
		return false
	}
	return (!first || x.passGate(&x.midway)) && x.sleep(delay)
}

// breakOff does to a stream what its ending says, after the last event that is sent.
func (x *exchange) breakOff(how ending, sequence int) {
	switch how {
	case endHangStream:
		x.flush()
		x.hang()
	case endResetStream:
		x.flush()
		x.reset()
	case endErrorEvent:
		x.deliver(encode("error", sequence, map[string]any{"code": "server_error", "message": "The server had an error while streaming.", "param": nil}))
	case endStreamError:
		x.deliver([]byte(`data: {"error":{"message":"The server had an error while streaming.","type":"server_error","param":null,"code":null}}` + "\n\n"))
	}
}

// events are all events of an answer in order, encoded.
func (x *exchange) events(how ending) [][]byte {
	text := x.text()
	ended := x.ended(how, text)
	var events [][]byte
	add := func(kind string, members map[string]any) {
		events = append(events, encode(kind, len(events), members))
	}
	add("response.created", map[string]any{"response": x.begun()})
	add("response.in_progress", map[string]any{"response": x.begun()})
	if len(ended.Output) > 0 {
		id := ended.Output[0].ID
		at := func(name string, value any) map[string]any {
			return map[string]any{"item_id": id, "output_index": 0, "content_index": 0, name: value}
		}
		add("response.output_item.added", map[string]any{"output_index": 0, "item": x.message("in_progress", "")})
		add("response.content_part.added", at("part", textPart("")))
		for _, delta := range pieces(text) {
			add("response.output_text.delta", at("delta", delta))
		}
		add("response.output_text.done", at("text", text))
		add("response.content_part.done", at("part", textPart(text)))
		add("response.output_item.done", map[string]any{"output_index": 0, "item": ended.Output[0]})
	}
	add("response."+ended.Status, map[string]any{"response": ended})
	return events
}

func encode(kind string, sequence int, members map[string]any) []byte {
	members["type"], members["sequence_number"] = kind, sequence
	data, _ := json.Marshal(members)
	return bytes.Join([][]byte{[]byte("event: " + kind + "\ndata: "), data, []byte("\n\n")}, nil)
}

// pieces cuts a text into at most maxDeltas parts, between characters.
func pieces(text string) []string {
	var parts []string
	size := max(1, (len(text)+maxDeltas-1)/maxDeltas)
	for len(text) > 0 {
		end := min(size, len(text))
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end++
		}
		parts = append(parts, text[:end])
		text = text[end:]
	}
	return parts
}

package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/openai/openai-go/v3/packages/ssestream"

	"github.com/sluicedev/sluice/pkg/llm"
)

// drainTime is how long a finished stream may take to end. Reading to its end keeps the connection for the next call.
const drainTime = 100 * time.Millisecond

// answer is an HTTP response on its way to become an llm.Response.
type answer struct {
	*http.Response
	started func(llm.Start) // nil when there is nobody (or nobody any more) to tell
	cancel  context.CancelFunc
}

func (a *answer) requestID() string { return a.Header.Get("X-Request-Id") }

func (a *answer) read(ctx context.Context) (*llm.Response, *llm.Error) {
	switch {
	case a.StatusCode >= http.StatusBadRequest:
		return nil, a.refusal()
	case a.StatusCode < 200 || a.StatusCode > 299:
		return nil, malformed("a redirect to "+a.Header.Get("Location")+" is not followed", nil)
	case isStream(a.Header):
		return a.readStream(ctx)
	default:
		return a.readObject(ctx)
	}
}

func (a *answer) refusal() *llm.Error {
	body, _ := io.ReadAll(a.Body) // what could be read; status and headers say enough
	e := parseFailure(body)
	e.Kind = llm.Refused
	return e
}

// event is the part of a stream event that decides what to do with it.
type event struct {
	Type     string          `json:"type"`
	Response json.RawMessage `json:"response"`
	Error    json.RawMessage `json:"error"`
}

// readStream reads events up to the one that ends the answer. A stream without one is cut, however cleanly it ended.
func (a *answer) readStream(ctx context.Context) (*llm.Response, *llm.Error) {
	events := ssestream.NewDecoder(a.Response)
	for events.Next() {
		data := events.Event().Data
		if bytes.HasPrefix(data, []byte("[DONE]")) {
			break
		}
		var e event
		if err := lenient(json.Unmarshal(data, &e)); err != nil {
			return nil, malformed("an event of the stream is not JSON", data)
		}
		switch {
		case e.Type == "error" || !isNull(e.Error):
			return nil, failed(data)
		case isTerminal(e.Type):
			defer a.drain(events)
			return a.finish(e.Response, strings.TrimPrefix(e.Type, "response."))
		}
		a.tellStarted()
	}
	return nil, broken(ctx, events.Err())
}

func isTerminal(eventType string) bool {
	switch eventType {
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		return true
	}
	return false
}

func (a *answer) drain(events ssestream.Decoder) {
	defer time.AfterFunc(drainTime, a.cancel).Stop()
	for events.Next() {
	}
}

// readObject reads an answer that is one JSON object, as servers send that know no streams.
func (a *answer) readObject(ctx context.Context) (*llm.Response, *llm.Error) {
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, broken(ctx, err)
	}
	return a.finish(body, "")
}

// object is the part of a response object that is read; the rest is kept raw.
type object struct {
	Status            string          `json:"status"`
	Error             json.RawMessage `json:"error"`
	IncompleteDetails struct {
		Reason string `json:"reason"`
	} `json:"incomplete_details"`
	Output []struct {
		Content []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		} `json:"content"`
	} `json:"output"`
	Usage *usage `json:"usage"`
}

// finish turns the response object into the result. The object's own status stands; event is what the stream called it,
// for servers that leave the status out.
func (a *answer) finish(raw json.RawMessage, event string) (*llm.Response, *llm.Error) {
	var o object
	if err := lenient(json.Unmarshal(raw, &o)); err != nil || !isObject(raw) {
		return nil, malformed(describe(raw), raw)
	}
	switch status := o.status(event); status {
	case "completed", "incomplete":
		a.tellStarted()
		return a.response(raw, o, status), nil
	case "failed", "cancelled":
		e := failed(raw)
		e.Usage = o.Usage.pointer()
		if e.Message == "" {
			e.Message = "the response ended with status " + status
		}
		return nil, e
	default:
		return nil, malformed(fmt.Sprintf("a response with status %q", status), raw)
	}
}

func (o object) status(event string) string {
	switch {
	case o.Status != "":
		return o.Status
	case event != "":
		return event
	case !isNull(o.Error):
		return "failed"
	case o.Output != nil:
		return "completed"
	}
	return ""
}

func (a *answer) response(raw json.RawMessage, o object, status string) *llm.Response {
	r := &llm.Response{
		Status:     a.StatusCode,
		Header:     a.Header,
		RequestID:  llm.StorableText(a.requestID(), llm.MaxRequestID),
		OutputText: o.text(),
		Raw:        raw,
	}
	if u := o.Usage.pointer(); u != nil {
		r.Usage = *u
	}
	if status == "incomplete" {
		r.Incomplete = o.IncompleteDetails.Reason
		if r.Incomplete == "" {
			r.Incomplete = "unknown"
		}
	}
	return r
}

func (o object) text() string {
	var text strings.Builder
	for _, item := range o.Output {
		for _, part := range item.Content {
			if part.Type == "output_text" {
				text.WriteString(part.Text)
			}
		}
	}
	return text.String()
}

func (a *answer) tellStarted() {
	if a.started == nil {
		return
	}
	a.started(llm.Start{Header: a.Header, RequestID: a.requestID(), At: time.Now()})
	a.started = nil
}

// usage is llm.Usage as this API spells it.
type usage struct {
	InputTokens        int64 `json:"input_tokens"`
	OutputTokens       int64 `json:"output_tokens"`
	TotalTokens        int64 `json:"total_tokens"`
	InputTokensDetails struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"input_tokens_details"`
	OutputTokensDetails struct {
		ReasoningTokens int64 `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
}

// pointer gives the counts, never negative: they are summed and stored.
func (u *usage) pointer() *llm.Usage {
	if u == nil {
		return nil
	}
	return &llm.Usage{
		InputTokens:     max(0, u.InputTokens),
		OutputTokens:    max(0, u.OutputTokens),
		TotalTokens:     max(0, u.TotalTokens),
		CachedTokens:    max(0, u.InputTokensDetails.CachedTokens),
		ReasoningTokens: max(0, u.OutputTokensDetails.ReasoningTokens),
	}
}

// lenient forgives a member of an unexpected type: the rest of the document has been decoded all the same.
func lenient(err error) error {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return nil
	}
	return err
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func isObject(raw json.RawMessage) bool { return bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) }

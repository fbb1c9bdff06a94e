package openai

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/sluicedev/sluice/pkg/llm"
)

// noAnswer is a call without any HTTP answer.
func noAnswer(ctx context.Context, err error) llm.Error {
	return llm.Error{Kind: kindOf(ctx, err, llm.Transport), Message: reason(ctx, err), Err: err}
}

// broken is an answer that ended before it was whole; err is nil when the stream just ended.
func broken(ctx context.Context, err error) *llm.Error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, bufio.ErrTooLong) {
		return &llm.Error{Kind: llm.Malformed, Message: fmt.Sprintf("larger than %d MiB", maxAnswer>>20), Err: err}
	}
	return &llm.Error{Kind: kindOf(ctx, err, llm.Cut), Message: reason(ctx, err), Err: err}
}

// kindOf puts the caller's own will before what the network made of it.
func kindOf(ctx context.Context, err error, otherwise llm.Kind) llm.Kind {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return llm.Canceled
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return llm.Timeout
	}
	return otherwise
}

// reason says why, unless the kind alone already does.
func reason(ctx context.Context, err error) string {
	switch cause := context.Cause(ctx); {
	case cause != nil && cause != ctx.Err():
		return cause.Error()
	case cause != nil:
		return ""
	case err == nil:
		return "the stream ended without a final event"
	}
	return err.Error()
}

func malformed(message string, body []byte) *llm.Error {
	return &llm.Error{Kind: llm.Malformed, Message: message, Body: string(body[:min(len(body), maxErrorBody)])}
}

func failed(body []byte) *llm.Error {
	e := parseFailure(body)
	e.Kind = llm.Failed
	return e
}

// parseFailure reads what a provider says about a failure, in any of the shapes seen: {"error":{...}}, {"error":"text"},
// the members without an envelope, {"detail":...}, plain text, HTML.
func parseFailure(body []byte) *llm.Error {
	e := &llm.Error{Body: string(body[:min(len(body), maxErrorBody)])}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		e.Message = describe(body)
		return e
	}
	if inner, ok := members["error"]; ok && !isNull(inner) {
		members = nil
		if json.Unmarshal(inner, &members) != nil {
			e.Message = word(inner)
			return e
		}
	}
	e.Type, e.Code, e.Param = word(members["type"]), word(members["code"]), word(members["param"])
	e.Message = cmp.Or(word(members["message"]), word(members["detail"]))
	if e.Type == "error" {
		e.Type = "" // the name of the stream's event, not of the failure
	}
	return e
}

// word reads a member that should be a string but may be anything (a code is a number at some servers).
func word(raw json.RawMessage) string {
	var s string
	if isNull(raw) || json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// describe says what a body is that is not the JSON it should be.
func describe(body []byte) string {
	switch body = bytes.TrimSpace(body); {
	case len(body) == 0:
		return "an empty body"
	case body[0] == '<':
		return "an HTML page, perhaps from a proxy in between"
	case body[0] == '{' || body[0] == '[':
		return "truncated or broken JSON"
	}
	return string(body)
}

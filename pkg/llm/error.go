package llm

import (
	"fmt"
	"net/http"
)

// Kind says how a call failed.
type Kind string

const (
	Invalid   Kind = "invalid"   // never sent: the body is no JSON object or sets "stream", or the ID is not sendable
	Refused   Kind = "refused"   // answered with an HTTP status of 400 or above
	Failed    Kind = "failed"    // accepted, then ended by the provider: status failed or cancelled, or an error event
	Malformed Kind = "malformed" // a body that is no answer: HTML, truncated JSON, a redirect, larger than the limit
	Cut       Kind = "cut"       // the answer ended before its terminal event, however it ended
	Timeout   Kind = "timeout"   // the context's deadline passed, or the network's own time-out
	Canceled  Kind = "canceled"  // the context was cancelled by the caller
	Transport Kind = "transport" // no answer at all: connection refused or reset, unknown host, TLS
)

// Error is a call that gave no whole answer. All its text is redacted, storable and capped; Header and Err are as they
// came and belong in no log.
type Error struct {
	Kind      Kind
	Status    int // the HTTP status; 0 when there was no HTTP answer
	Header    http.Header
	RequestID string

	// What the provider said. Type and Code may each carry the meaning alone: compare both.
	Type, Code, Param, Message string

	Body  string // the beginning of what was received, for the record
	Usage *Usage // what was billed in spite of the failure; nil when the provider did not say
	Err   error  // the cause below, if there is one
}

// Caps of an Error's text, in bytes.
const (
	maxMessage = 2 << 10
	maxBody    = 8 << 10
	maxToken   = 200 // type, code, param and request id are short words
)

// NewError makes all text of e fit to be kept: redacted, storable, capped. Every Error of a provider passes here.
// Secrets are the credentials of the call, which are removed wherever the provider echoes them.
func NewError(e Error, secrets ...string) *Error {
	clean := func(s string, limit int) string { return StorableText(Redact(s, secrets...), limit) }
	e.RequestID = clean(e.RequestID, maxToken)
	e.Type = clean(e.Type, maxToken)
	e.Code = clean(e.Code, maxToken)
	e.Param = clean(e.Param, maxToken)
	e.Message = clean(e.Message, maxMessage)
	e.Body = clean(e.Body, maxBody)
	return &e
}

func (e *Error) Unwrap() error { return e.Err }

// Error is one sentence for a person, with the provider's own words.
func (e *Error) Error() string {
	s := e.what()
	if e.Message != "" {
		s += ": " + e.Message
	}
	if code := e.word(); code != "" {
		s += " (" + code + ")"
	}
	return s
}

func (e *Error) what() string {
	switch e.Kind {
	case Invalid:
		return "the call cannot be sent"
	case Refused:
		return "the provider refused the call with " + statusText(e.Status)
	case Failed:
		return "the provider accepted the call and then failed it"
	case Malformed:
		return fmt.Sprintf("the provider answered %s with a body that is no answer", statusText(e.Status))
	case Cut:
		return "the provider's answer was cut short"
	case Timeout:
		return "the call timed out"
	case Canceled:
		return "the call was cancelled"
	case Transport:
		return "the provider could not be reached"
	}
	return "the call failed"
}

// word is the most specific name the provider gave the failure.
func (e *Error) word() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Type
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("%d %s", status, text)
	}
	return fmt.Sprint(status)
}

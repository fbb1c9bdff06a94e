package llm

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// MaxRequestID is the longest Request.ID in characters; providers refuse a longer X-Client-Request-Id with 400.
const MaxRequestID = 512

// A Provider makes calls. Implementations are safe for concurrent use and never retry: one Call is at most one request.
type Provider interface {
	// Call sends r and waits for the whole answer. A returned error is always an *Error. Nothing but ctx bounds the time
	// it takes: a deadline ends it as Timeout, a cancellation as Canceled, both at once.
	Call(ctx context.Context, r Request) (*Response, error)

	// Credential is the Fingerprint of the key that every Call is made with. "" is not known.
	Credential() string
}

// Request is one call to make.
type Request struct {
	// ID is sent as X-Client-Request-Id, so that a call can be found in the provider's log: printable ASCII, at most
	// MaxRequestID characters. Empty sends none.
	ID string

	// Body is the provider's own request, a JSON object without a "stream" member. It is sent byte for byte, in its own
	// order and spelling, because the order of keys in a schema reaches the model.
	Body json.RawMessage

	// Started is called at most once, by the calling goroutine, when the provider has accepted the call and the first
	// event of the answer that is no failure has arrived. Quota headers are readable then, long before the answer ends.
	Started func(Start)
}

// Start is what is known when a call has begun to be answered.
type Start struct {
	Header    http.Header
	RequestID string    // the provider's own id of the call
	At        time.Time // local clock, with a monotonic reading: good for measuring an age, not for storing
}

// Response is a whole answer.
type Response struct {
	Status     int // the HTTP status, 2xx
	Header     http.Header
	RequestID  string
	OutputText string // all text parts of the output, joined; may hold any character, see StorableText
	Usage      Usage

	// Raw is the response object exactly as the provider sent it; see StorableJSON.
	Raw json.RawMessage

	// Incomplete is the provider's reason why the output stops early (max_output_tokens, content_filter), else "".
	Incomplete string
}

// Usage is what a call cost in tokens, as the provider counted. Unknown counts are 0.
type Usage struct {
	InputTokens     int64 `json:"input_tokens"`
	OutputTokens    int64 `json:"output_tokens"`
	TotalTokens     int64 `json:"total_tokens"`
	CachedTokens    int64 `json:"cached_tokens"`    // part of InputTokens
	ReasoningTokens int64 `json:"reasoning_tokens"` // part of OutputTokens
}

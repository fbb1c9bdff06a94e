package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
)

// Handler runs one job. Its context ends when the type's time-out is over, the job is cancelled, or the worker stops.
//
// A nil error ends the job done. An error is charged and tried again later, unless it is (or wraps) a *llm.Error, which
// is treated as the provider's answer that it is; or it was made by Reject, which fails the job at once, or by Snooze,
// which tries again without a charge. A panic is an error.
type Handler func(ctx context.Context, job Job) (Result, error)

// Job is what a handler gets to see.
type Job struct {
	ID       uuid.UUID
	Tenant   string
	Type     string
	Upstream string          // "" where the type is not paced
	Payload  json.RawMessage // as it was enqueued, byte for byte
	Attempt  int             // 1 for the first charged try
	CallID   string          // to send to the provider as X-Client-Request-Id: it names this attempt

	started func(llm.Start)
}

// Started tells the fleet that the provider has begun to answer this job's call, and hands it the quota headers. The
// built-in handler does it by itself; one of your own that calls a paced upstream passes it on as llm.Request.Started.
func (j Job) Started(s llm.Start) {
	if j.started != nil {
		j.started(s)
	}
}

// Result is what a job that is done leaves behind.
type Result struct {
	OutputText string          `json:"output_text"`
	Usage      *llm.Usage      `json:"usage"`
	Incomplete string          `json:"incomplete,omitempty"` // why the output stops early; "" if it does not
	Response   json.RawMessage `json:"response"`             // the provider's whole answer, or whatever a handler of your own wants kept

	requestID string
	status    int
}

type rejection struct{ err error }

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

// Reject makes an error that fails the job at once: trying again would not help.
func Reject(err error) error { return &rejection{err} }

type snooze struct {
	err   error
	delay time.Duration
}

func (s *snooze) Error() string { return s.err.Error() }
func (s *snooze) Unwrap() error { return s.err }

// Snooze makes an error after which the job is tried again in d, without a charge.
func Snooze(d time.Duration, err error) error { return &snooze{err, d} }

// prompt is the built-in handler: one call to the type's upstream with the payload's messages or input.
func (w *Worker) prompt(t jobtype.Type) Handler {
	provider := w.cfg.Providers[t.Upstream]
	return func(ctx context.Context, job Job) (Result, error) {
		at := t
		// The line that the job stands in says which model it is paced as, whatever the configuration says by now.
		if _, model, ok := strings.Cut(job.Upstream, ":"); ok && model != t.Model {
			at.Model, at.Models = model, append([]string{t.Model}, t.Models...)
		}
		body, err := at.Body(job.Payload)
		if err != nil {
			return Result{}, Reject(err)
		}
		response, err := provider.Call(ctx, llm.Request{ID: job.CallID, Body: body, Started: job.Started})
		if err != nil {
			return Result{}, err
		}
		return Result{
			OutputText: response.OutputText, Usage: &response.Usage, Incomplete: response.Incomplete, Response: response.Raw,
			requestID: response.RequestID, status: response.Status,
		}, nil
	}
}

// call runs the handler and turns a panic into an error. Where it happened is for the log alone; what it said, which may be
// a piece of the payload, is for the attempt alone.
func (l *life) call(ctx context.Context, h Handler, job Job) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("a handler panicked", "type", job.Type, "job_id", job.ID, "upstream", job.Upstream, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return h(ctx, job)
}

// stored is the result as it is written: every text storable, the answer within its limit.
func (r Result) stored() (json.RawMessage, error) {
	r.OutputText = llm.StorableText(r.OutputText, maxResult)
	r.Incomplete = llm.StorableText(r.Incomplete, maxIncomplete)
	if r.Response != nil {
		r.Response = llm.StorableJSON(r.Response, maxResult)
	}
	// Not json.Marshal of the whole: it would compact the answer, and its bytes are the provider's.
	head, err := json.Marshal(struct {
		OutputText string     `json:"output_text"`
		Usage      *llm.Usage `json:"usage"`
		Incomplete string     `json:"incomplete,omitempty"`
	}{r.OutputText, r.Usage, r.Incomplete})
	if err != nil {
		return nil, err
	}
	response := r.Response
	if response == nil {
		response = json.RawMessage("null")
	}
	stored := append(head[:len(head)-1], `,"response":`...)
	return append(append(stored, response...), '}'), nil
}

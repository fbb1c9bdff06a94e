package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

const problemType = "application/problem+json"

// refusal is an error that is meant for the client.
type refusal struct {
	status int
	detail string
	fields []FieldError
	kind   kind // zero: what is usual for the status
}

func (r *refusal) Error() string { return r.detail }

// invalid refuses a request whose fields are at fault.
func invalid(fields ...FieldError) *refusal { return faulty(http.StatusBadRequest, fields...) }

func faulty(status int, fields ...FieldError) *refusal {
	fields, more := fields[:min(len(fields), maxErrors)], len(fields)-1
	for i := range fields {
		fields[i].Field = shorten(fields[i].Field)
	}
	detail := fields[0].Field + ": " + fields[0].Message
	if more > 0 {
		detail += fmt.Sprintf(" (and %d more)", more)
	}
	return &refusal{status: status, detail: detail, fields: fields}
}

// shorten keeps names that a stranger chose, and paths through what is nested deeply, from filling the answer.
func shorten(name string) string {
	if utf8.RuneCountInString(name) <= maxFieldName {
		return name
	}
	return string([]rune(name)[:maxFieldName]) + "…"
}

// statusClientGone is only for metrics: nobody is there to read it. It keeps impatient clients out of our own errors.
const statusClientGone = 499

// kind is a kind of problem: its stable name and its words.
type kind struct{ name, title string }

var kinds = map[int]kind{
	http.StatusBadRequest:            {"invalid_request", "The request is not valid"},
	http.StatusUnauthorized:          {"unauthorized", "A good API key is needed"},
	http.StatusForbidden:             {"forbidden", "This is not allowed"},
	http.StatusNotFound:              {"not_found", "There is no such thing"},
	http.StatusMethodNotAllowed:      {"method_not_allowed", "This path does not take this method"},
	http.StatusConflict:              {"conflict", "The state forbids it"},
	http.StatusRequestEntityTooLarge: {"too_large", "The request is too large"},
	http.StatusUnsupportedMediaType:  {"unsupported_media_type", "The body is of a type that is not taken here"},
	http.StatusTooManyRequests:       {"queue_full", "As many jobs wait as may"},
	http.StatusUnprocessableEntity:   {"key_reused", "The idempotency key was used before with another request"},
	statusClientGone:                 {"client_gone", "The client went away"},
	http.StatusInternalServerError:   {"internal", "Something went wrong on our side"},
	http.StatusServiceUnavailable:    {"unavailable", "This cannot be served right now"},
}

// newProblem is the body of an answer of 400 or above.
func newProblem(r *refusal, requestID string) Problem {
	k := r.kind
	if k == (kind{}) {
		k = kindOf(r.status)
	}
	p := Problem{Type: "urn:sluice:problem:" + k.name, Title: k.title, Status: r.status, Detail: r.detail, RequestID: requestID}
	if len(r.fields) > 0 {
		p.Errors = &r.fields
	}
	return p
}

func kindOf(status int) kind {
	if k, ok := kinds[status]; ok {
		return k
	}
	text := http.StatusText(status)
	return kind{strings.ReplaceAll(strings.ToLower(text), " ", "_"), text}
}

// refuse is the one table that turns errors into answers. What is not in it is ours to mend and not for the client.
func refuse(err error) *refusal {
	var (
		own      *refusal
		conflict *queue.Conflict
		routing  *echo.HTTPError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, context.Canceled):
		return &refusal{status: statusClientGone, detail: "the client went away"}
	case errors.Is(err, queue.ErrNotFound):
		return &refusal{status: http.StatusNotFound, detail: "there is no job with this id"}
	case errors.Is(err, upstream.ErrNotFound):
		return &refusal{status: http.StatusNotFound, detail: "there is no upstream of this name"}
	case errors.Is(err, queue.ErrMoved):
		return &refusal{status: http.StatusServiceUnavailable, detail: "somebody else kept changing the job; nothing was changed here, try again"}
	case errors.As(err, &conflict):
		return &refusal{status: http.StatusConflict, detail: conflict.Error()}
	case errors.As(err, &routing):
		return refuseRouting(routing)
	case unavailable(err):
		return &refusal{status: http.StatusServiceUnavailable, detail: "the database does not answer; nothing was lost, try again"}
	}
	return &refusal{status: http.StatusInternalServerError, detail: "the request could not be served; quote request_id when you ask about it"}
}

func refuseRouting(e *echo.HTTPError) *refusal {
	switch e.Code {
	case http.StatusNotFound:
		return &refusal{status: e.Code, detail: "there is nothing at this path"}
	case http.StatusMethodNotAllowed:
		return &refusal{status: e.Code, detail: "this path takes the methods of the Allow header"}
	}
	return &refusal{status: e.Code, detail: http.StatusText(e.Code)}
}

func tooLargeBody(limit int64) *refusal {
	return faulty(http.StatusRequestEntityTooLarge, FieldError{"body", fmt.Sprintf("must have at most %d bytes", limit)})
}

// unavailable tells whether err says that the database is away or too slow, rather than that we asked it something wrong.
func unavailable(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) { // a deadline is an error of the network's kind
		return true
	}
	// 08 is a broken connection, 53 a lack of resources, 57P a shutdown, 57014 a statement's time-out, 25006 a server
	// that was demoted, 55P03 a lock not to be had in time. A connection that broke under a statement brings no code.
	for _, class := range []string{"08", "53", "57P", "57014", "25006", "55P03"} {
		if strings.HasPrefix(pg.Code(err), class) {
			return true
		}
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// answerError is Echo's error handler: the only place where a problem is written and where an inside is logged.
func (s *Server) answerError(err error, c echo.Context) {
	r := refuse(err)
	switch {
	case r.status == http.StatusInternalServerError:
		s.log.Error("a request failed", "request_id", requestID(c), "method", c.Request().Method, "route", c.Path(), "error", err)
	case r.status == http.StatusServiceUnavailable:
		s.log.Warn("a request could not be served for now", "request_id", requestID(c), "route", c.Path(), "error", err)
	}
	if c.Response().Committed {
		return
	}
	discard(c.Request())
	if err := writeProblem(c, r.status, s.problem(c, r)); err != nil {
		s.log.Debug("a problem could not be written", "request_id", requestID(c), "error", err)
	}
}

// problem is what the client is told. That of /api/health has `ok`, which clients of the first design look at.
func (s *Server) problem(c echo.Context, r *refusal) any {
	p := newProblem(r, requestID(c))
	if r.status == http.StatusServiceUnavailable && c.Path() == healthPath {
		return HealthProblem{Type: p.Type, Title: p.Title, Status: p.Status, Detail: p.Detail, RequestID: p.RequestID}
	}
	return p
}

// discard reads what a refused client is still sending. Closing the connection in its face would reset it, and the
// client would see that instead of the problem. One that asked first has not sent anything.
func discard(r *http.Request) {
	if r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, maxDiscard)
	}
}

// writeProblem writes a Problem, or one with members of its own.
func writeProblem(c echo.Context, status int, problem any) error {
	body, err := encode(problem)
	if err != nil {
		return err
	}
	if seconds, ok := retryAfter[status]; ok && c.Response().Header().Get(echo.HeaderRetryAfter) == "" {
		c.Response().Header().Set(echo.HeaderRetryAfter, seconds)
	}
	return c.Blob(status, problemType, body)
}

// encode writes JSON as it is meant to be read: < and & stay as they are.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

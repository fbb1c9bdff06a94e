package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/strictjson"
)

const (
	ndjsonType     = "application/x-ndjson"
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotency-Replayed"
	wholeBody      = "body" // the field, where the fault is of no member
)

// Enqueue is POST /api/ai/enqueue.
func (s *Server) Enqueue(c echo.Context, params EnqueueParams) error {
	body, err := readBody(c, maxBody)
	if err != nil {
		return err
	}
	job, faults := readJob(s.contract.single, body)
	if len(faults) > 0 {
		return invalid(inBody(faults)...)
	}
	if len(job.Payload) > jobtype.MaxPayloadBytes {
		return tooLargePayload(payloadField)
	}
	job.IdempotencyKey = params.IdempotencyKey
	tenant := s.tenant(c)
	made, err := s.traced(c, tenant, queue.Jobs(newJob(tenant, job)))
	if err != nil {
		return refuseJob(err, func(_ int, field string) string {
			if field == "idempotency_key" {
				return keyHeader
			}
			return field
		})
	}
	s.log.Debug("a job was enqueued", "request_id", requestID(c), "job_id", made[0].ID, "type", job.Type, "upstream", made[0].Line, "replayed", made[0].Replayed)
	if wait, ok := preferredWait(c.Request().Header); ok && s.waiters.enter(s.ofStreams.waiters) {
		defer s.waiters.leave()
		return s.answerWithin(c, job.Type, made[0], wait)
	}
	return s.answerEnqueued(c, job.Type, made[0])
}

// traced stores jobs within the trace of their request, which is kept with them.
func (s *Server) traced(c echo.Context, tenant string, jobs queue.Batch) (made []queue.Enqueued, err error) {
	traceparent, end := s.trace(c.Request().Context(), c.Request().Header, jobs.Len)
	defer func() { end(err) }()
	if traceparent == "" {
		return s.store(c.Request().Context(), tenant, jobs)
	}
	return s.store(c.Request().Context(), tenant, queue.Batch{Len: jobs.Len, Job: func(i int) (queue.NewJob, error) {
		job, err := jobs.Job(i)
		job.Traceparent = traceparent
		return job, err
	}})
}

func (s *Server) answerEnqueued(c echo.Context, jobType string, made queue.Enqueued) error {
	state, waiting, err := s.describe(c, jobType, made)
	if err != nil { // the job is kept by now, so nothing that follows may fail the request
		s.log.Warn("an enqueued job could not be described", "request_id", requestID(c), "job_id", made.ID, "error", err)
	}
	return s.answerAccepted(c, made, state, waiting)
}

func (s *Server) answerAccepted(c echo.Context, made queue.Enqueued, state State, waiting *Waiting) error {
	markEnqueued(c, made)
	path := jobPath(made.ID)
	return writeJSON(c, http.StatusAccepted,
		EnqueueResponse{ID: made.ID, State: state, StatusURL: path, EventsURL: path + "/events", Waiting: waiting})
}

func markEnqueued(c echo.Context, made queue.Enqueued) {
	c.Response().Header().Set(echo.HeaderLocation, jobPath(made.ID))
	if made.Replayed {
		c.Response().Header().Set(replayedHeader, "true")
	}
}

// describe tells the job's state and why it waits. A new one in a line needs no look of its own at the database for that.
func (s *Server) describe(c echo.Context, jobType string, made queue.Enqueued) (State, *Waiting, error) {
	ctx, tenant := c.Request().Context(), s.tenant(c)
	if made.State == queue.Queued && !made.Replayed {
		waiting, err := s.waitingNewcomer(ctx, tenant, jobType, made)
		return State(made.State), waiting, err
	}
	job, err := s.queue.Get(ctx, tenant, made.ID)
	if err != nil {
		return State(made.State), nil, err
	}
	waiting, err := s.waiting(ctx, job)
	return State(job.State), waiting, err
}

// EnqueueBatch is POST /api/ai/enqueue/batch.
func (s *Server) EnqueueBatch(c echo.Context) error {
	body, err := readBody(c, maxBatchBody)
	if err != nil {
		return err
	}
	elements, err := split(c.Request(), body)
	if err != nil {
		return invalid(inBody(jsonFaults(err))...)
	}
	tenant := s.tenant(c)
	made, err := s.traced(c, tenant, s.batch(tenant, elements))
	if err != nil {
		return refuseJob(err, inBatch)
	}
	s.places.forgetAll() // so many at once change what newcomers are told
	ids := make([]uuid.UUID, len(made))
	for i, m := range made {
		ids[i] = m.ID
	}
	return writeJSON(c, http.StatusAccepted, BatchResponse{Ids: ids})
}

// batch is a batch's jobs, each checked when its turn comes. The first that is at fault is told together with those after it.
func (s *Server) batch(tenant string, elements []json.RawMessage) queue.Batch {
	return queue.Batch{Len: len(elements), Job: func(i int) (queue.NewJob, error) {
		job, faults := readJob(s.contract.batch, elements[i])
		if len(faults) > 0 || len(job.Payload) > jobtype.MaxPayloadBytes {
			return queue.NewJob{}, s.batchFaults(elements, i)
		}
		return newJob(tenant, job), nil
	}}
}

func (s *Server) batchFaults(elements []json.RawMessage, from int) error {
	var faults []FieldError
	for i := from; i < len(elements) && len(faults) < maxErrors; i++ {
		job, found := readJob(s.contract.batch, elements[i])
		if len(job.Payload) > jobtype.MaxPayloadBytes {
			return tooLargePayload(inBatch(i, payloadField))
		}
		for _, f := range found {
			faults = append(faults, FieldError{inBatch(i, f.Field), f.Message})
		}
	}
	return invalid(faults...)
}

// split gives the jobs of a batch as they were sent.
func split(r *http.Request, body []byte) ([]json.RawMessage, error) {
	take := strictjson.Elements
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get(echo.HeaderContentType)); mediaType == ndjsonType {
		take = lines
	}
	elements, err := take(body, queue.MaxBatch)
	if err == nil && len(elements) == 0 {
		err = strictjson.Errorf("", "must have 1 to %d jobs", queue.MaxBatch)
	}
	return elements, err
}

// lines splits NDJSON and skips what is blank.
func lines(body []byte, limit int) ([]json.RawMessage, error) {
	var elements []json.RawMessage
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(elements) == limit {
			return nil, strictjson.Errorf("", "must have at most %d lines", limit)
		}
		elements = append(elements, line)
	}
	return elements, nil
}

// readBody reads a body that has to be there.
func readBody(c echo.Context, limit int64) ([]byte, error) {
	r := c.Request()
	if r.ContentLength > limit {
		return nil, tooLargeBody(limit)
	}
	body, err := readAll(http.MaxBytesReader(c.Response(), r.Body, limit), r.ContentLength)
	var tooLarge *http.MaxBytesError
	var full *refusal
	switch {
	case errors.As(err, &tooLarge):
		return nil, tooLargeBody(limit)
	case errors.As(err, &full):
		return nil, full
	case err != nil:
		return nil, invalid(FieldError{wholeBody, "could not be read to its end"})
	case len(body) == 0:
		return nil, invalid(FieldError{wholeBody, "is required"})
	}
	return body, nil
}

// readAll is io.ReadAll for a body of a promised length (negative: unknown). A promise alone takes no room: there is four times
// as much of it as has come.
func readAll(r io.Reader, promised int64) ([]byte, error) {
	body := make([]byte, 0, 4<<10)
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		case len(body) == cap(body):
			room := 4 * len(body)
			if more := int(promised) + 1 - len(body); more > 0 { // one byte is for the end to be seen
				room = min(room, more)
			}
			body = slices.Grow(body, room)
		}
	}
}

func newJob(tenant string, j BatchJob) queue.NewJob {
	n := queue.NewJob{Tenant: tenant, Type: j.Type, Payload: j.Payload, Priority: j.Priority, MaxAttempts: j.MaxAttempts,
		ScheduledAt: j.ScheduledAt}
	if j.DelayMs != nil {
		n.Delay = new(time.Duration(*j.DelayMs) * time.Millisecond)
	}
	if j.IdempotencyKey != nil {
		n.IdempotencyKey = *j.IdempotencyKey
	}
	if j.CallbackURL != nil {
		n.CallbackURL = *j.CallbackURL
	}
	return n
}

// refuseJob names the field that the queue found at fault as the request calls it.
func refuseJob(err error, name func(index int, field string) string) error {
	var fault *queue.Invalid
	var reused *queue.KeyReused
	switch {
	case errors.As(err, &fault):
		return invalid(FieldError{name(fault.Index, fault.Field), fault.Message})
	case errors.As(err, &reused):
		return faulty(http.StatusUnprocessableEntity,
			FieldError{name(reused.Index, "idempotency_key"), "was used before with another request"})
	}
	return err
}

func tooLargePayload(field string) error {
	return faulty(http.StatusRequestEntityTooLarge, FieldError{field, fmt.Sprintf("must have at most %d bytes", jobtype.MaxPayloadBytes)})
}

func inBody(faults []FieldError) []FieldError {
	for i := range faults {
		if faults[i].Field == "" {
			faults[i].Field = wholeBody
		}
	}
	return faults
}

func inBatch(index int, field string) string {
	place := fmt.Sprintf("[%d]", index)
	if field == "" || strings.HasPrefix(field, "[") {
		return place + field
	}
	return place + "." + field
}

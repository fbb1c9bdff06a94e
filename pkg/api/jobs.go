package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/queue"
)

func jobPath(id uuid.UUID) string { return "/api/ai/jobs/" + id.String() }

// GetJob is GET /api/ai/jobs/{id}.
func (s *Server) GetJob(c echo.Context, id JobID) error {
	job, err := s.queue.Get(c.Request().Context(), s.tenant(c), id)
	return s.answerJob(c, job, err)
}

// CancelJob is POST /api/ai/jobs/{id}/cancel.
func (s *Server) CancelJob(c echo.Context, id JobID) error {
	job, err := s.queue.Cancel(c.Request().Context(), s.tenant(c), id)
	if err == nil {
		s.changed()
	}
	return s.answerJob(c, job, err)
}

// RetryJob is POST /api/ai/jobs/{id}/retry.
func (s *Server) RetryJob(c echo.Context, id JobID) error {
	job, err := s.queue.Retry(c.Request().Context(), s.tenant(c), id)
	if err == nil {
		s.bell.Ring(job.Line())
		s.changed()
	}
	return s.answerJob(c, job, err)
}

// changed tells whoever watches jobs, here and at other processes, that one is not as it was.
func (s *Server) changed() {
	s.hub.nudge()
	s.states.Ring("")
}

func (s *Server) answerJob(c echo.Context, job queue.Job, err error) error {
	if err != nil {
		return err
	}
	waiting, err := s.waiting(c.Request().Context(), job)
	if err != nil {
		return err
	}
	body, err := encodeJob(job, waiting)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, body)
}

// encodeJob writes a Job. Payload and result are spliced in: any encoder would change their bytes.
func encodeJob(job queue.Job, waiting *Waiting) ([]byte, error) {
	columns, err := encode(summary(job))
	if err != nil {
		return nil, err
	}
	reason, err := encode(waiting)
	if err != nil {
		return nil, err
	}
	result := job.Result
	if result == nil {
		result = json.RawMessage("null")
	}
	return slices.Concat(columns[:len(columns)-1],
		[]byte(`,"payload":`), job.Payload, []byte(`,"result":`), result, []byte(`,"waiting":`), reason, []byte(`}`)), nil
}

func summary(j queue.Job) JobSummary {
	return JobSummary{
		ID: j.ID, Tenant: j.Tenant, Type: j.Type, State: State(j.State), Priority: j.Priority,
		Attempts: j.Attempts, MaxAttempts: j.MaxAttempts, Lease: j.Lease, Worker: j.Worker, Upstream: j.Upstream,
		IdempotencyKey: j.IdempotencyKey, CallbackURL: j.CallbackURL, LastError: j.LastError,
		ScheduledAt: utc(j.ScheduledAt), ExpiresAt: utc(j.ExpiresAt), DeadlineAt: utc(j.DeadlineAt),
		CreatedAt: j.CreatedAt.UTC(), UpdatedAt: j.UpdatedAt.UTC(),
		StartedAt: utc(j.StartedAt), FinishedAt: utc(j.FinishedAt), HeldAt: utc(j.HeldAt),
	}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

// ListJobs is GET /api/ai/jobs.
func (s *Server) ListJobs(c echo.Context, params ListJobsParams) error {
	filter := queue.Filter{Tenant: s.tenant(c)}
	if params.State != nil {
		filter.State = queue.State(*params.State)
	}
	if params.Type != nil {
		filter.Type = *params.Type
	}
	if params.Limit != nil {
		filter.Limit = *params.Limit
	}
	if params.Cursor != nil && *params.Cursor != "" {
		before, ok := readCursor(*params.Cursor)
		if !ok {
			return invalid(FieldError{"cursor", "must be the next_cursor of an earlier page"})
		}
		filter.Before = before
	}
	listed, err := s.queue.List(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	page := JobPage{Jobs: make([]JobSummary, len(listed.Jobs))}
	for i, job := range listed.Jobs {
		page.Jobs[i] = summary(job)
	}
	if listed.Next != uuid.Nil {
		page.NextCursor = new(cursor(listed.Next))
	}
	if params.Include != nil {
		if err := s.includeWaiting(c.Request().Context(), page.Jobs); err != nil {
			return err
		}
	}
	return writeJSON(c, http.StatusOK, page)
}

// includeWaiting tells why each of the jobs waits: from what is read for all watchers together, and one look at those that do.
func (s *Server) includeWaiting(ctx context.Context, jobs []JobSummary) error {
	var known []queue.Known
	listed := map[uuid.UUID]*JobSummary{}
	for i, job := range jobs {
		if job.State == StateQueued || job.State == StateDelayed {
			known = append(known, queue.Known{ID: job.ID})
			listed[job.ID] = &jobs[i]
		}
	}
	if len(known) == 0 {
		return nil
	}
	news, err := s.queue.News(ctx, known...)
	if err != nil {
		return err
	}
	for _, n := range news {
		if listed[n.ID].Waiting, err = s.whyWatched(ctx, n, nil); err != nil {
			return err
		}
	}
	return nil
}

// cursorVersion is the first byte of a cursor. One of another version is refused, never misread.
const cursorVersion = 1

func cursor(last uuid.UUID) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorVersion}, last[:]...))
}

func readCursor(text string) (uuid.UUID, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 1+len(uuid.UUID{}) || raw[0] != cursorVersion {
		return uuid.Nil, false
	}
	id := uuid.UUID(raw[1:])
	return id, id != uuid.Nil
}

// ListAttempts is GET /api/ai/jobs/{id}/attempts.
func (s *Server) ListAttempts(c echo.Context, id JobID) error {
	attempts, err := s.queue.Attempts(c.Request().Context(), s.tenant(c), id)
	if err != nil {
		return err
	}
	list := AttemptList{Attempts: make([]Attempt, len(attempts))}
	for i, a := range attempts {
		list.Attempts[i] = wireAttempt(a)
	}
	return writeJSON(c, http.StatusOK, list)
}

func wireAttempt(a queue.Attempt) Attempt {
	w := Attempt{
		Number: a.Number, Worker: a.Worker, Upstream: a.Upstream, Charged: a.Charged, Status: a.Status, Error: a.Error,
		RetryAfterMs: a.RetryAfterMS, RequestID: a.RequestID, StartedAt: a.StartedAt.UTC(), FinishedAt: utc(a.FinishedAt),
	}
	if a.Outcome != nil {
		w.Outcome = new(string(*a.Outcome))
	}
	if a.InputTokens != nil || a.OutputTokens != nil {
		w.Usage = &Usage{InputTokens: a.InputTokens, OutputTokens: a.OutputTokens}
	}
	return w
}

package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/pg"
)

// End is how an attempt ended and where its job goes from there.
type End struct {
	JobID   uuid.UUID
	Lease   int64
	Outcome Outcome
	Charged bool          // counts against max_attempts
	State   State         // Done, Failed, Queued or Delayed
	Delay   time.Duration // of Delayed, from the database's now
	Behind  bool          // Queued: behind its equals, instead of at its old place

	Status       int // HTTP; 0: none
	Error        string
	RetryAfter   time.Duration // as the provider said; 0: it did not
	RequestID    string
	InputTokens  *int64
	OutputTokens *int64
	Result       json.RawMessage // of Done
}

// The fence is (worker, lease): worker is null unless the job runs, and lease grows with every claim. An attempt whose
// job was taken from under it by a cancel is ended as cancelled, with the usage that came. One that rescue ended as
// lost has its outcome already and stays as it is.
//
// The array of ids keeps the planner on the primary keys whatever its statistics say, and keyed (below) from comparing
// every job with every other one.
const endSQL = `
with given as materialized (
    select g.*, clock_timestamp() as now
    from unnest($2::uuid[], $3::bigint[], $4::text[], $5::bool[], $6::text[], $7::bigint[], $8::bool[], $9::int[],
                $10::text[], $11::bigint[], $12::text[], $13::bigint[], $14::bigint[], $15::text[])
        as g(job_id, lease, outcome, charged, state, delay_ms, behind, status, error, retry_after_ms, request_id,
             input_tokens, output_tokens, result)
), job as (
    update jobs j set
        state = g.state,
        attempts = least(j.attempts + g.charged::int, j.max_attempts),
        worker = null,
        deadline_at = null,
        scheduled_at = case when g.state = 'delayed' then g.now + g.delay_ms * interval '1 millisecond' else j.scheduled_at end,
        seq = case when g.behind then nextval('jobs_seq') else j.seq end,
        held_at = case when g.outcome = 'held' then g.now else j.held_at end,
        finished_at = case when g.state in ('done', 'failed') then g.now end,
        updated_at = g.now,
        last_error = case when g.state = 'done' then null else coalesce(g.error, j.last_error) end,
        result = g.result::json
    from given g
    where j.id = any ($2) and j.id = g.job_id and j.lease = g.lease and j.worker = $1
    returning j.id, j.lease, j.state, j.tenant, j.type, j.upstream, j.priority, j.seq, j.created_at, j.scheduled_at, j.expires_at,
        j.attempts, j.max_attempts, j.worker, j.idempotency_key, j.callback_url, j.deadline_at, j.updated_at, j.started_at,
        j.finished_at, j.held_at, j.last_error
), attempt as (
    update attempts a set
        outcome = case when j.id is null then 'cancelled' else g.outcome end,
        charged = g.charged and j.id is not null,
        status = g.status, error = g.error, retry_after_ms = g.retry_after_ms, request_id = g.request_id,
        input_tokens = g.input_tokens, output_tokens = g.output_tokens,
        finished_at = g.now
    from given g left join job j on j.id = g.job_id and j.lease = g.lease
    where a.job_id = any ($2) and a.job_id = g.job_id and a.number = g.lease and a.worker = $1 and a.outcome is null
), line as (
    insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
    select coalesce(upstream, type), priority, seq, id, tenant, type, greatest(created_at, scheduled_at), expires_at
    from job where state = 'queued'
    on conflict do nothing
), later as (
    insert into delayed (due_at, job_id, tenant, line, expires_at)
    select scheduled_at, id, tenant, coalesce(upstream, type), expires_at from job where state = 'delayed'
), ended as (
    insert into ended_counts (tenant, state, n)
    select tenant, state, count(*) from job where state in ('done', 'failed') group by tenant, state
), failed as (
    insert into ended (tenant, state, job_id) select tenant, state, id from job where state = 'failed'
    on conflict do nothing -- a row that was left by an UPDATE by hand must not keep the others of the batch from ending
), ` + owedSQL + `
select id from job`

// End ends attempts of one worker and returns the jobs that it still held: of those, and only those, anything changed in
// jobs. A job that is missing was cancelled, rescued or ended before. Calling it again after an unclear error is safe.
//
// If Postgres refuses a row for what is in it, the others are written all the same, and that job fails with the reason.
func (q *Queue) End(ctx context.Context, worker string, ends ...End) ([]uuid.UUID, error) {
	held, err := q.end(ctx, worker, ends)
	if err == nil || !notStorable(err) {
		return held, wrap("end", err)
	}
	held = nil
	for _, e := range ends {
		one, err := q.end(ctx, worker, []End{e})
		if notStorable(err) {
			one, err = q.end(ctx, worker, []End{e.unstorable(err)})
		}
		if err != nil {
			return held, fmt.Errorf("end: %w", err)
		}
		held = append(held, one...)
	}
	return held, nil
}

// notStorable tells whether Postgres refused a statement for the data in it: bad data, a broken constraint, or a limit.
func notStorable(err error) bool {
	code := pg.Code(err)
	return len(code) == 5 && (code[:2] == "22" || code[:2] == "23" || code[:2] == "54")
}

// unstorable is the end of an attempt whose answer came and cannot be kept.
func (e End) unstorable(err error) End {
	return End{
		JobID: e.JobID, Lease: e.Lease, Outcome: Rejected, Charged: e.Charged, State: Failed, Status: e.Status,
		InputTokens: e.InputTokens, OutputTokens: e.OutputTokens,
		Error: fmt.Sprintf("the answer came, but the database refused to keep it (SQLSTATE %s)", pg.Code(err)),
	}
}

func (q *Queue) end(ctx context.Context, worker string, ends []End) (held []uuid.UUID, err error) {
	err = pg.Retry(ctx, func() error { // rescue may lock the same jobs in another order
		held, err = q.endOnce(ctx, worker, ends)
		return err
	})
	return held, err
}

func (q *Queue) endOnce(ctx context.Context, worker string, ends []End) ([]uuid.UUID, error) {
	return planned(ctx, q.db, keyed, pgx.RowTo[uuid.UUID], endSQL, worker,
		ids(ends, func(e End) uuid.UUID { return e.JobID }),
		of(ends, func(e End) int64 { return e.Lease }),
		of(ends, func(e End) string { return string(e.Outcome) }),
		of(ends, func(e End) bool { return e.Charged }),
		of(ends, func(e End) string { return string(e.State) }),
		of(ends, func(e End) int64 { return e.Delay.Milliseconds() }),
		of(ends, func(e End) bool { return e.Behind }),
		of(ends, func(e End) *int { return orNil(e.Status) }),
		of(ends, func(e End) *string { return orNil(e.Error) }),
		of(ends, func(e End) *int64 { return orNil(e.RetryAfter.Milliseconds()) }),
		of(ends, func(e End) *string { return orNil(e.RequestID) }),
		of(ends, func(e End) *int64 { return e.InputTokens }),
		of(ends, func(e End) *int64 { return e.OutputTokens }),
		of(ends, func(e End) []byte { return e.Result }))
}

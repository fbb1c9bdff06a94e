package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const jobColumns = `id, tenant, type, state, priority, payload, attempts, max_attempts, lease, worker, upstream, idempotency_key,
    callback_url, scheduled_at, expires_at, deadline_at, created_at, updated_at, started_at, finished_at, held_at, last_error,
    result, seq`

// raw is where a json column is read to as it is: a *json.RawMessage would lose the space around it.
func raw(m *json.RawMessage) *[]byte { return (*[]byte)(m) }

// scan gives the places for jobColumns.
func (j *Job) scan() []any {
	return []any{&j.ID, &j.Tenant, &j.Type, &j.State, &j.Priority, raw(&j.Payload), &j.Attempts, &j.MaxAttempts, &j.Lease, &j.Worker,
		&j.Upstream, &j.IdempotencyKey, &j.CallbackURL, &j.ScheduledAt, &j.ExpiresAt, &j.DeadlineAt, &j.CreatedAt, &j.UpdatedAt,
		&j.StartedAt, &j.FinishedAt, &j.HeldAt, &j.LastError, raw(&j.Result), &j.seq}
}

const getSQL = `select ` + jobColumns + ` from jobs where id = $1 and tenant = $2`

// Get reads one job. ErrNotFound: the tenant has none with that id.
func (q *Queue) Get(ctx context.Context, tenant string, id uuid.UUID) (Job, error) {
	var job Job
	err := q.db.QueryRow(ctx, getSQL, id, tenant).Scan(job.scan()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return Job{}, ErrNotFound
	}
	return job, wrap("get job", err)
}

// Filter says which jobs to list. Zero values leave a condition out.
type Filter struct {
	Tenant string
	State  State
	Type   string
	Before uuid.UUID // the last id of the page before
	Limit  int       // 1 to MaxPage; 0: DefaultPage
}

// The payload and the result are left out: a page of them could be 200 MiB. There is always an id to be below: with
// `$4 is null or`, a plan for any $4 would read every page from the first row on.
const listSQL = `
select id, tenant, type, state, priority, null::json, attempts, max_attempts, lease, worker, upstream, idempotency_key,
    callback_url, scheduled_at, expires_at, deadline_at, created_at, updated_at, started_at, finished_at, held_at, last_error,
    null::json, seq
from jobs
where tenant = $1 and ($2 = '' or state = $2) and ($3 = '' or type = $3) and id < $4
order by id desc
limit $5`

// List reads a page of a tenant's jobs, newest first, without Payload and Result.
func (q *Queue) List(ctx context.Context, f Filter) ([]Job, error) {
	if f.Limit == 0 {
		f.Limit = DefaultPage
	}
	rows, err := q.db.Query(ctx, listSQL, f.Tenant, string(f.State), f.Type, cmp.Or(f.Before, uuid.Max), min(f.Limit, MaxPage))
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	jobs, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (j Job, err error) { return j, r.Scan(j.scan()...) })
	return jobs, wrap("list jobs", err)
}

const attemptsSQL = `
select job_id, number, worker, upstream, outcome, charged, status, error, retry_after_ms, request_id,
    input_tokens, output_tokens, started_at, finished_at
from attempts where job_id = $1 order by number`

// Attempts reads every attempt of a job, oldest first. ErrNotFound: the tenant has no such job.
func (q *Queue) Attempts(ctx context.Context, tenant string, id uuid.UUID) ([]Attempt, error) {
	if _, err := q.Get(ctx, tenant, id); err != nil {
		return nil, err
	}
	rows, err := q.db.Query(ctx, attemptsSQL, id)
	if err != nil {
		return nil, fmt.Errorf("attempts: %w", err)
	}
	attempts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Attempt])
	return attempts, wrap("attempts", err)
}

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
	Before uuid.UUID // where the page before ended: its Next
	Limit  int       // 1 to MaxPage; 0: DefaultPage
}

// Page is a part of a list, newest first, of jobs without Payload and Result.
type Page struct {
	Jobs []Job
	Next uuid.UUID // Before of the next page; uuid.Nil: there is none
}

// sources say where the ids of a tenant's jobs in a state stand, so that a few among a million are found at once.
var sources = map[State]string{
	Queued:  `select job_id from ready where tenant = $1 and ($3 = '' or type = $3)`,
	Delayed: `select job_id from delayed where tenant = $1`,
	Running: `select j.id from claims c, unnest(c.job_ids, c.leases) as u(job_id, lease)
		join jobs j on j.id = u.job_id and j.lease = u.lease where j.worker = c.worker and j.tenant = $1`,
	Failed:    `select job_id from ended where tenant = $1 and state = 'failed'`,
	Cancelled: `select job_id from ended where tenant = $1 and state = 'cancelled'`,
	Done:      everyJob, // done is what most jobs are
	"":        everyJob,
}

const everyJob = `select id from jobs where tenant = $1`

// exact tells whether each id that the source gives is of a job to list. An ended one may have been deleted by hand.
func (f Filter) exact() bool {
	return f.State == Queued || f.Type == "" && f.State != Done && f.State != Failed && f.State != Cancelled
}

// The payload and the result are left out: a page of them could be 200 MiB. There is always an id to be below: with
// `$4 is null or`, a plan for any $4 would read every page from the first row on. The offset keeps the planner on the
// primary key, whatever it thinks of how many ids there are.
const listSQL = `
select j.id, tenant, type, state, priority, null::json, attempts, max_attempts, lease, worker, upstream, idempotency_key,
    callback_url, scheduled_at, expires_at, deadline_at, created_at, updated_at, started_at, finished_at, held_at, last_error,
    null::json, seq
from (select id from (%s) source(id) where id < $4 and id >= $5 order by id desc limit $6) known
cross join lateral (select * from jobs j where j.id = known.id offset 0) j
where tenant = $1 and ($2 = '' or state = $2) and ($3 = '' or type = $3)
order by known.id desc
limit $7`

// floorSQL tells how far down so many ids reach.
const floorSQL = `select id from (%s) source(id) where id < $2 order by id desc offset $3 limit 1`

// samples are a hundredth of the ids of those who wait. As many ids of it as a page has reach further down than the page does,
// so that a million need not be sorted for the newest 25.
var samples = map[State]string{
	Queued:  `select job_id from ready tablesample system (1) where tenant = $1 and ($4 = '' or type = $4)`,
	Delayed: `select job_id from delayed tablesample system (1) where tenant = $1 and $4 = ''`,
}

// List reads a page of a tenant's jobs. It looks at MaxLook jobs at most, so that a page of a type that is rare, or of done
// jobs below a million that wait, may be short or even empty, and its Next goes on from there.
func (q *Queue) List(ctx context.Context, f Filter) (Page, error) {
	if f.Limit == 0 {
		f.Limit = DefaultPage
	}
	f.Limit, f.Before = min(f.Limit, MaxPage), cmp.Or(f.Before, uuid.Max)
	if f.State == Queued || f.State == Delayed {
		return q.listWaiting(ctx, f)
	}
	if f.exact() {
		return q.list(ctx, sources[f.State], f, uuid.Nil, f.Limit)
	}
	return q.listFound(ctx, sources[f.State], f)
}

// listWaiting is List of jobs in the narrow tables, which are in another order. Where so many wait that they take long to read,
// the newest jobs are mostly among them. Of those who are delayed the table does not tell the type.
func (q *Queue) listWaiting(ctx context.Context, f Filter) (Page, error) {
	if page, err := q.list(ctx, everyJob, f, uuid.Nil, glance); err != nil || len(page.Jobs) == f.Limit {
		return page, err
	}
	if f.exact() {
		floor, err := q.floor(ctx, samples[f.State], f, f.Limit, f.Type)
		if err != nil {
			return Page{}, err
		}
		return q.list(ctx, sources[f.State], f, floor, f.Limit)
	}
	source := sources[f.State]
	if many, err := q.manyDelayed(ctx, f.Tenant); err != nil {
		return Page{}, err
	} else if many {
		source = everyJob
	}
	return q.listFound(ctx, source, f)
}

// listFound is List from a source that gives the ids of other jobs, too.
func (q *Queue) listFound(ctx context.Context, source string, f Filter) (Page, error) {
	page, err := q.list(ctx, source, f, uuid.Nil, MaxLook)
	if err != nil || page.Next != uuid.Nil {
		return page, err
	}
	// Nobody knows yet how far down that was. It is asked before the jobs are read, so that none is left out or told twice.
	floor, err := q.floor(ctx, source, f, MaxLook)
	if err != nil || floor == uuid.Nil {
		return page, err
	}
	return q.list(ctx, source, f, floor, MaxLook)
}

// floor is the id that so many ids of a source reach down to; uuid.Nil: there are fewer.
func (q *Queue) floor(ctx context.Context, source string, f Filter, ids int, args ...any) (floor uuid.UUID, err error) {
	err = q.db.QueryRow(ctx, fmt.Sprintf(floorSQL, source), append([]any{f.Tenant, f.Before, ids - 1}, args...)...).Scan(&floor)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil
	}
	return floor, wrap("look down a list", err)
}

const manyDelayedSQL = `select count(*) = $2 from (select from delayed where tenant = $1 limit $2) d`

// manyDelayed tells whether more of a tenant's jobs are delayed than a List looks at.
func (q *Queue) manyDelayed(ctx context.Context, tenant string) (many bool, err error) {
	err = q.db.QueryRow(ctx, manyDelayedSQL, tenant, MaxLook+1).Scan(&many)
	return many, wrap("look down a list", err)
}

// list reads a page of the jobs of a source down to floor, but looks at no more than so many. Its Next is floor where it is
// not full.
func (q *Queue) list(ctx context.Context, source string, f Filter, floor uuid.UUID, look int) (Page, error) {
	rows, err := q.db.Query(ctx, fmt.Sprintf(listSQL, source), f.Tenant, string(f.State), f.Type, f.Before, floor, look, f.Limit)
	if err != nil {
		return Page{}, fmt.Errorf("list jobs: %w", err)
	}
	jobs, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (j Job, err error) { return j, r.Scan(j.scan()...) })
	if len(jobs) == f.Limit {
		floor = jobs[len(jobs)-1].ID
	}
	return Page{jobs, floor}, wrap("list jobs", err)
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

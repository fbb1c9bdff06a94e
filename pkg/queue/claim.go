package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// Claim asks for jobs of one line.
type Claim struct {
	ID       uuid.UUID // made by the worker, so that it can look for a claim whose reply was lost
	Worker   string
	Line     string
	Types    []string        // that the worker has a handler for; no other is claimed
	Timeouts []time.Duration // of Types, in their order
	Grace    time.Duration   // added to the time-out: the deadline after which the lease ends by itself,
	Beat     time.Duration   // and not before the worker has beaten for so long, at this pace: clocks step. 0: by the clock alone
	Limit    int
	Gate     Gate
	Mark     Mark
}

// Mark is how far a claimer has come in a line: by priority, the place in line before which it does not look. The zero Mark
// is the head of the line.
//
// A claim leaves a dead entry behind in the line's index for each of its jobs, and the next one would read all of them
// again, until vacuum has removed them: which it cannot do while somebody holds an old snapshot. What is before the mark all the
// same (a job that comes back to its old place, an enqueue that was long to commit) is found from the head, so look there now and then.
type Mark [jobtype.MaxPriority]int64

// markSlack is how many places before the last claimed one a mark lies: enqueues do not commit in the order of their places.
const markSlack = 5000

// Pass moves the mark on behind claimed jobs.
func (m *Mark) Pass(jobs ...Claimed) {
	for _, j := range jobs {
		place := &m[j.priority-jobtype.MinPriority]
		*place = max(*place, j.seq-markSlack)
	}
}

// Gate is what the worker believes of the line's upstream. The claim's own statement checks it, so that a claim that
// raced with the breaker takes nothing. The zero Gate is for a line that is not paced.
type Gate struct {
	Upstream   string    // "": not paced
	Generation int64     // the breaker must be closed, in this generation
	Probe      uuid.UUID // or this must be the permit in force
	Except     uuid.UUID // leave this job alone: the previous probe's
}

// Claimed is a job with the lease that its worker holds from now on.
type Claimed struct {
	ID          uuid.UUID
	Tenant      string
	Type        string
	Payload     json.RawMessage
	Attempts    int
	MaxAttempts int
	Lease       int64
	Upstream    *string
	HeldAt      *time.Time
	StartedAt   time.Time
	Since       time.Time // from when on it could have started
	Traceparent string    // of the trace that enqueued it; "": none

	priority int
	seq      int64
}

// The narrow rows are locked first, with SKIP LOCKED, and are gone whatever their jobs say: a row whose job is not
// queued any more is an orphan. Each priority is read from its own mark, one after the other and no further than the limit,
// as both orders are those of the scans beneath: a sort would lock the whole line. The two arrays keep the planner on the primary keys whatever its statistics say; array_position,
// which it takes for true almost always, keeps it from reading and sorting a whole line because it takes "type = any" for
// rare before the table was analyzed. A worker that is not on the list any more gets nothing: rescue would take it away again.
const claimSQL = `
with gate as materialized (
    select from upstreams u
    where u.name = $8 and case when $10::uuid is null then u.state = 'closed' and u.generation = $9
                               else u.probe_id = $10 and u.probe_until > clock_timestamp() end
    union all
    select where $8 = ''
), picked as materialized (
    select next.ctid, next.job_id
    from (
        select mark.priority::smallint, mark.seq from unnest($12::bigint[]) with ordinality as mark(seq, priority)
        where exists (select from gate) and exists (select from workers w where w.id = $2)
        order by mark.priority::smallint
    ) mark, lateral (
        select ctid, job_id from ready
        where line = $3 and priority = mark.priority and seq >= mark.seq
          and array_position($4, type) is not null
          and (expires_at is null or expires_at > now())
          and job_id is distinct from $11::uuid
        order by seq
        limit $7
        for update skip locked
    ) next
    order by mark.priority
    limit $7
), gone as (
    delete from ready where ctid = any (array(select ctid from picked))
), job as (
    update jobs j set state = 'running', lease = j.lease + 1, worker = $2, started_at = now(), updated_at = now(),
        deadline_at = now() + t.timeout + $6
    from unnest($4::text[], $5::interval[]) as t(type, timeout)
    where j.id = any (array(select job_id from picked)) and j.state = 'queued' and j.type = t.type
    returning j.id, j.tenant, j.type, j.payload, j.attempts, j.max_attempts, j.lease, j.worker, j.upstream, j.held_at,
        j.started_at, j.deadline_at, j.priority, j.seq, j.created_at, j.scheduled_at, j.traceparent
), attempt as (
    insert into attempts (job_id, number, worker, upstream, started_at)
    select id, lease, worker, upstream, started_at from job
), claim as (
    insert into claims (id, worker, line, job_ids, leases, deadline_at, deadline_beat)
    select $1, $2, $3, array_agg(id), array_agg(lease), deadline_at, (select beat from workers where id = $2)
        + coalesce(ceil(extract(epoch from deadline_at - started_at) / nullif(extract(epoch from $13::interval), 0)), 0)
    from job group by deadline_at, started_at
)
select id, tenant, type, payload, attempts, max_attempts, lease, upstream, held_at, started_at,
    greatest(created_at, scheduled_at), coalesce(traceparent, ''), priority, seq
from job
order by priority, seq`

// Claim takes up to Limit queued jobs of a line, in the order of their priority and place, and gives the worker their
// leases. They are durable when it returns. On an error it is unclear whether anything was claimed: see GiveBack.
func (q *Queue) Claim(ctx context.Context, c Claim) ([]Claimed, error) {
	jobs, err := planned(ctx, q.db, once, scanClaimed, claimSQL, c.ID, c.Worker, c.Line, c.Types, c.Timeouts, c.Grace, c.Limit,
		c.Gate.Upstream, c.Gate.Generation, orNil(c.Gate.Probe), orNil(c.Gate.Except), c.Mark[:], c.Beat)
	return jobs, wrap("claim", err)
}

func scanClaimed(r pgx.CollectableRow) (j Claimed, err error) {
	return j, r.Scan(&j.ID, &j.Tenant, &j.Type, raw(&j.Payload), &j.Attempts, &j.MaxAttempts, &j.Lease, &j.Upstream, &j.HeldAt, &j.StartedAt, &j.Since, &j.Traceparent,
		&j.priority, &j.seq)
}

const claimOfSQL = `
select u.job_id, u.lease
from claims c, unnest(c.job_ids, c.leases) as u(job_id, lease)
where c.id = $1 and c.worker = $2`

// GiveBack undoes a claim whose reply was lost: its jobs are queued again, uncharged. It tells whether the claim was
// there. If it was not, its statement may still be under way: ask again until the worker's statements have timed out.
func (q *Queue) GiveBack(ctx context.Context, worker string, claim uuid.UUID) (bool, error) {
	rows, err := q.db.Query(ctx, claimOfSQL, claim, worker)
	if err != nil {
		return false, fmt.Errorf("give back: %w", err)
	}
	ends, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (End, error) {
		e := End{Outcome: Interrupted, State: Queued, Error: "the reply to the claim was lost"}
		return e, r.Scan(&e.JobID, &e.Lease)
	})
	if err != nil || len(ends) == 0 {
		return false, wrap("give back", err)
	}
	if _, err := q.End(ctx, worker, ends...); err != nil {
		return false, fmt.Errorf("give back: %w", err)
	}
	return true, q.Forget(ctx, claim)
}

const forgetSQL = `delete from claims where id = any ($1)`

// Forget drops claims whose jobs have all ended. Until then they only cost a row: rescue leaves ended jobs alone.
func (q *Queue) Forget(ctx context.Context, claims ...uuid.UUID) error {
	_, err := q.db.Exec(ctx, forgetSQL, ids(claims, func(id uuid.UUID) uuid.UUID { return id }))
	return wrap("forget claims", err)
}

func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}

package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/pg"
)

// CancelChannel is where a cancel of a running job is notified, with the worker's id. It is only a faster way to learn
// what Cancels tells anyway.
const CancelChannel = "sluice_cancels"

// Lock order: the narrow row first, by the place that the job has now.
const leaveLineSQL = `
with job as materialized (
    select * from jobs where id = $1 and tenant = $2
), line as (
    delete from ready r using job
    where r.line = coalesce(job.upstream, job.type) and r.priority = job.priority and r.seq = job.seq and r.job_id = job.id
), later as (
    delete from delayed d using job where d.due_at = job.scheduled_at and d.job_id = job.id
)
select state, seq, scheduled_at from job`

// A running job's lease moves on, so that the late answer is fenced off; its attempt's row is left to the worker, which
// knows what usage came. A job that is not where its narrow row was taken from is left alone: it may have another one by now.
const cancelSQL = `
with old as materialized (
    select id, worker, lease from jobs
    where id = $1 and tenant = $2 and state = $3 and seq = $4 and scheduled_at is not distinct from $5
    for update
), job as (
    update jobs j set state = 'cancelled', worker = null, deadline_at = null,
        lease = j.lease + (j.state = 'running')::int, finished_at = clock_timestamp(), updated_at = clock_timestamp()
    from old
    where j.id = old.id and j.state in ('queued', 'delayed', 'running')
    returning j.*
), told as (
    insert into cancels (worker, job_id, lease)
    select old.worker, old.id, old.lease from old join job using (id) where old.worker is not null
), notified as (
    select pg_notify('` + CancelChannel + `', old.worker) from old join job using (id) where old.worker is not null
), ended as (
    insert into ended_counts (tenant, state, n) select tenant, state, 1 from job
), listed as (
    insert into ended (tenant, state, job_id) select tenant, state, id from job
    on conflict do nothing
), ` + owedSQL + `
select ` + jobColumns + `, (select count(*) from notified) from job`

// cancelTries bounds how often a cancel starts anew because the job was claimed or ended between its two statements.
const cancelTries = 10

// ErrMoved says that somebody else kept changing the job while it was to be cancelled. Nothing was done; a later try may.
var ErrMoved = errors.New("the job kept changing while it was being cancelled")

// Cancel ends a queued, delayed or running job at once. *Conflict: it has ended already. ErrMoved: others were faster,
// again and again.
func (q *Queue) Cancel(ctx context.Context, tenant string, id uuid.UUID) (job Job, err error) {
	for range cancelTries {
		err = pg.Retry(ctx, func() error {
			return pg.InTx(ctx, q.db, func(tx pgx.Tx) error { return cancel(ctx, tx, tenant, id, &job) })
		})
		if !errors.Is(err, ErrMoved) {
			break
		}
	}
	return job, q.refused(ctx, "cancelled", tenant, id, err)
}

func cancel(ctx context.Context, tx pgx.Tx, tenant string, id uuid.UUID, job *Job) error {
	var seen Job
	if err := tx.QueryRow(ctx, leaveLineSQL, id, tenant).Scan(&seen.State, &seen.seq, &seen.ScheduledAt); err != nil {
		return err
	}
	var notified int64
	err := tx.QueryRow(ctx, cancelSQL, id, tenant, string(seen.State), seen.seq, seen.ScheduledAt).Scan(append(job.scan(), &notified)...)
	if errors.Is(err, pgx.ErrNoRows) && !seen.State.Ended() {
		return ErrMoved
	}
	return err
}

const retrySQL = `
with old as materialized (
    select id, state from jobs where id = $1 and tenant = $2 and state in ('failed', 'cancelled') for update
), job as (
    update jobs j set state = 'queued', attempts = 0, scheduled_at = null, finished_at = null, held_at = null, result = null,
        seq = nextval('jobs_seq'), updated_at = now(),
        expires_at = now() + (select max_wait_ms * interval '1 millisecond' from job_types t where t.name = j.type)
    from old where j.id = old.id
    returning j.*
), line as (
    insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
    select coalesce(upstream, type), priority, seq, id, tenant, type, now(), expires_at from job
), ended as (
    insert into ended_counts (tenant, state, n) select job.tenant, old.state, -1 from job join old using (id)
), unlisted as (
    delete from ended e using job join old using (id) where e.tenant = job.tenant and e.state = old.state and e.job_id = job.id
)
select ` + jobColumns + ` from job`

// Retry takes a failed or cancelled job back to the end of its line, with a fresh allowance of attempts and of max_wait.
// Its lease goes on from where it was, so that no late answer of an earlier life counts. *Conflict: any other state.
func (q *Queue) Retry(ctx context.Context, tenant string, id uuid.UUID) (Job, error) {
	var job Job
	err := q.db.QueryRow(ctx, retrySQL, id, tenant).Scan(job.scan()...)
	return job, q.refused(ctx, "retried", tenant, id, err)
}

// refused tells why a change by hand found no row to change.
func (q *Queue) refused(ctx context.Context, verb, tenant string, id uuid.UUID, err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("a job to be %s: %w", verb, err)
	}
	job, err := q.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	return &Conflict{Verb: verb, State: job.State}
}

// Lease names one attempt: the worker that holds it is the caller.
type Lease struct {
	JobID uuid.UUID
	Lease int64
}

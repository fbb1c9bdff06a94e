package queue

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// The sweeps below need no leader: any worker may run any of them at any time. Each moves a bounded number of rows a
// statement, skips what another one holds, and tells how many it moved. Each is planned as if its table were full: most of
// the time it is empty, and a plan for that compares each row with each that is to be moved once it is not.

const promoteSQL = `
with due as materialized (
    select ctid, job_id from delayed where due_at <= now() order by due_at limit $1 for update skip locked
), gone as (
    delete from delayed where ctid = any (array(select ctid from due))
), job as (
    update jobs set state = 'queued', updated_at = now()
    where id = any (array(select job_id from due)) and state = 'delayed' and scheduled_at <= now()
    returning *
), line as (
    insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
    select coalesce(upstream, type), priority, seq, id, tenant, type, greatest(created_at, scheduled_at), expires_at from job
    on conflict do nothing -- an orphan at the same place, left by a bug or by hand, must not stop the others
)
select count(*) from due`

// Promote queues the delayed jobs that have fallen due, at their old places in line.
func (q *Queue) Promote(ctx context.Context) (int, error) {
	return q.sweep(ctx, "promote", once, promoteSQL, sweepSize)
}

// A job that waits for its upstream says so; one that waits for a retry keeps the words of its last attempt.
const expireReadySQL = `
with late as materialized (
    select ctid, job_id, line from ready where expires_at <= now() order by expires_at limit $1 for update skip locked
), gone as (
    delete from ready where ctid = any (array(select ctid from late))
), job as (
    update jobs j set state = 'failed', finished_at = now(), updated_at = now(),
        last_error = 'max_wait is over; it waited for ' || coalesce(
            (select u.name || ', whose breaker is ' || u.state || ' (' || u.reason || ')' from upstreams u
             where u.name = j.upstream and u.state <> 'closed'),
            'its turn on ' || coalesce(j.upstream, j.type)) || coalesce('; before that: ' || j.last_error, '')
    where j.id = any (array(select job_id from late)) and j.state = 'queued'
    returning j.*
), ended as (
    insert into ended_counts (tenant, state, n) select tenant, state, count(*) from job group by tenant, state
), failed as (
    insert into ended (tenant, state, job_id) select tenant, state, id from job
    on conflict do nothing
), ` + owedSQL + `
select count(*) from late`

const expireDelayedSQL = `
with late as materialized (
    select ctid, job_id from delayed where expires_at <= now() order by expires_at limit $1 for update skip locked
), gone as (
    delete from delayed where ctid = any (array(select ctid from late))
), job as (
    update jobs j set state = 'failed', finished_at = now(), updated_at = now(),
        last_error = 'max_wait is over; it waited for its next try' || coalesce('; the last one said: ' || j.last_error, '')
    where j.id = any (array(select job_id from late)) and j.state = 'delayed'
    returning j.*
), ended as (
    insert into ended_counts (tenant, state, n) select tenant, state, count(*) from job group by tenant, state
), failed as (
    insert into ended (tenant, state, job_id) select tenant, state, id from job
    on conflict do nothing
), ` + owedSQL + `
select count(*) from late`

// Expire fails the waiting jobs whose max_wait is over, with a reason that says what they waited for. A running job is
// never stopped by it.
func (q *Queue) Expire(ctx context.Context) (int, error) {
	ready, err := q.sweep(ctx, "expire", once, expireReadySQL, sweepSize)
	if err != nil {
		return 0, err
	}
	delayed, err := q.sweep(ctx, "expire", once, expireDelayedSQL, sweepSize)
	return ready + delayed, err
}

const compactSQL = `
with found as materialized (
    select ctid from ended_counts limit $1 for update skip locked
), old as (
    delete from ended_counts e using found where e.ctid = found.ctid returning tenant, state, n
), sums as (
    insert into ended_counts (tenant, state, n) select tenant, state, sum(n) from old group by tenant, state
    returning 1
)
select (select count(*) from old) - (select count(*) from sums)`

// Compact sums up the deltas of ended jobs, and tells by how many they are fewer. Counts are the same before and after. All
// deltas have to be within one statement's reach, or it would sum up the same thousand tenants again and again.
func (q *Queue) Compact(ctx context.Context) (fewer int, err error) {
	for n := compactSize; err == nil && n > compactSize/2; fewer += n { // as long as it pays
		n, err = q.sweep(ctx, "compact", linear, compactSQL, compactSize)
	}
	return fewer, err
}

// A slice of jobs by id, in which the narrow rows that should be there are put back. Rows under somebody's lock are being
// changed and are left alone; a row that came after this statement's snapshot collides with ours and wins.
const repairSQL = `
with slice as materialized (
    select id from jobs where id > $2 order by id limit $1
), stray as materialized (
    select j.* from jobs j
    where j.id = any (array(select id from slice)) and (
        (j.state = 'queued' and not exists (select from ready r
            where r.line = coalesce(j.upstream, j.type) and r.priority = j.priority and r.seq = j.seq))
        or (j.state = 'delayed' and not exists (select from delayed d where d.due_at = j.scheduled_at and d.job_id = j.id))
        or (j.state in ('failed', 'cancelled') and not exists (select from ended e
            where e.tenant = j.tenant and e.state = j.state and e.job_id = j.id)))
    for update skip locked
), line as (
    insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
    select coalesce(upstream, type), priority, seq, id, tenant, type, greatest(created_at, scheduled_at), expires_at
    from stray where state = 'queued'
    on conflict do nothing
), later as (
    insert into delayed (due_at, job_id, tenant, line, expires_at)
    select scheduled_at, id, tenant, coalesce(upstream, type), expires_at from stray where state = 'delayed'
    on conflict do nothing
), ended as (
    insert into ended (tenant, state, job_id) select tenant, state, id from stray where state in ('failed', 'cancelled')
    on conflict do nothing
)
select (select id from slice order by id desc limit 1), (select count(*) from stray)`

// Repair looks at the next jobs after an id and puts back the narrow rows that a bug or an UPDATE by hand has left out,
// so that no job is stranded or missing from a list. It returns where to go on (uuid.Nil: from the start again) and how many it found: always 0,
// or something is wrong.
func (q *Queue) Repair(ctx context.Context, after uuid.UUID) (next uuid.UUID, found int, err error) {
	var last *uuid.UUID
	err = q.db.QueryRow(ctx, repairSQL, sweepSize, after).Scan(&last, &found)
	if err != nil || last == nil {
		return uuid.Nil, 0, wrap("repair", err)
	}
	return *last, found, nil
}

func (q *Queue) sweep(ctx context.Context, operation, plan, sql string, size int) (int, error) {
	moved, err := planned(ctx, q.db, plan, pgx.RowTo[int], sql, size)
	if err != nil {
		return 0, wrap(operation, err)
	}
	return moved[0], nil
}

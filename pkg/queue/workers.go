package queue

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/pg"
)

const joinSQL = `insert into workers (id, types, lines, concurrency) values ($1, $2, $3, $4)`

// Join registers a worker under an id that nobody had before, with the types that it has handlers for and the lines that
// it claims from. Only a registered worker keeps what it claims.
func (q *Queue) Join(ctx context.Context, worker string, types, lines []string, concurrency int) error {
	_, err := q.db.Exec(ctx, joinSQL, worker, types, lines, concurrency)
	return wrap("join", err)
}

const beatSQL = `update workers set beat = beat + 1, seen_at = clock_timestamp() where id = $1`

// Beat moves a worker's counter. False: the worker was given up for dead and its jobs are others' by now; it must drop
// them, and join under a new id.
func (q *Queue) Beat(ctx context.Context, worker string) (alive bool, err error) {
	tag, err := q.db.Exec(ctx, beatSQL, worker)
	return tag.RowsAffected() == 1, wrap("beat", err)
}

const leaveSQL = `
with worker as (
    delete from workers where id = $1 and ($2::bigint is null or beat = $2) returning id
), unseen as (
    delete from cancels c using worker w where c.worker = w.id
)
select count(*) from worker`

// Leave takes a worker off the list when it has given back all it held.
func (q *Queue) Leave(ctx context.Context, worker string) error {
	_, err := q.db.Exec(ctx, leaveSQL, worker, nil)
	return wrap("leave", err)
}

// Bury takes a worker off the list whose counter stood still at beat for too long. False: it moved after all, or somebody
// else was first. Rescue then finds its claims.
func (q *Queue) Bury(ctx context.Context, worker string, beat int64) (buried bool, err error) {
	var n int
	err = q.db.QueryRow(ctx, leaveSQL, worker, beat).Scan(&n)
	return n == 1, wrap("bury", err)
}

// lostSQL are claims c of workers that are not on the list, and those past their deadline: the worker lives, but hangs. It has
// to have beaten for as long, for a clock that is set forward would else take every job from workers that are calling.
const lostSQL = `not exists (select from workers w where w.id = c.worker and (c.deadline_at >= now() or w.beat < c.deadline_beat))`

// Jobs in claims that ended are left alone by the fence. An attempt that is open while its job is not the
// worker's any more belongs to a cancelled job.
const rescueSQL = `
with dead as materialized (
    select c.ctid, c.worker, c.job_ids, c.leases from claims c
    where ` + lostSQL + `
    order by c.claimed_at
    limit $1
    for update skip locked
), given as materialized (
    select worker, unnest(job_ids) as job_id, unnest(leases) as lease from dead
), job as (
    update jobs j set
        state = case when j.attempts + 1 >= j.max_attempts then 'failed' else 'queued' end,
        attempts = least(j.attempts + 1, j.max_attempts),
        worker = null,
        deadline_at = null,
        finished_at = case when j.attempts + 1 >= j.max_attempts then now() end,
        updated_at = now(),
        last_error = 'the worker ' || g.worker || ' died or hung while it ran the job'
    from given g
    where j.id = any (array(select job_id from given)) and j.id = g.job_id and j.lease = g.lease and j.worker = g.worker
    returning j.*
), attempt as (
    update attempts a set outcome = case when j.id is null then 'cancelled' else 'lost' end, charged = j.id is not null,
        error = j.last_error, finished_at = now()
    from given g left join job j on j.id = g.job_id and j.lease = g.lease
    where a.job_id = any (array(select job_id from given)) and a.job_id = g.job_id and a.number = g.lease
      and a.worker = g.worker and a.outcome is null
), line as (
    insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
    select coalesce(upstream, type), priority, seq, id, tenant, type, greatest(created_at, scheduled_at), expires_at
    from job where state = 'queued'
    on conflict do nothing
), ended as (
    insert into ended_counts (tenant, state, n) select tenant, state, count(*) from job where state = 'failed' group by tenant, state
), failed as (
    insert into ended (tenant, state, job_id) select tenant, state, id from job where state = 'failed'
    on conflict do nothing
), ` + owedSQL + `, gone as (
    delete from claims where ctid = any (array(select ctid from dead))
), unseen as (
    delete from cancels c using given g where c.worker = g.worker and c.job_id = g.job_id and c.lease = g.lease
)
select (select count(*) from job), (select count(*) from dead)`

// rescueSize is how many claims one statement rescues, each of as many jobs as a worker claims at once.
const rescueSize = 10

// Rescue queues jobs of dead and of hung workers again and records their attempts as lost, which counts, so that a job that
// kills workers ends. 0: none is left. Claims whose jobs have all ended are dropped on the way: a worker forgets its own once
// a second, so the oldest claims of one that died are often such.
func (q *Queue) Rescue(ctx context.Context) (int, error) {
	for {
		r, err := q.rescueOnce(ctx)
		if err != nil || r.Jobs > 0 || r.Claims < rescueSize {
			return r.Jobs, wrap("rescue", err)
		}
	}
}

// rescued is what one statement came upon.
type rescued struct{ Jobs, Claims int }

func (q *Queue) rescueOnce(ctx context.Context) (r rescued, err error) {
	err = pg.Retry(ctx, func() error {
		found, err := planned(ctx, q.db, linear, pgx.RowToStructByPos[rescued], rescueSQL, rescueSize)
		if err == nil {
			r = found[0]
		}
		return err
	})
	return r, err
}

package queue

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// Counts is how many jobs are in each state. All are exact as of one moment, unless jobs were deleted by hand: deletes
// of ended jobs are not counted.
type Counts struct {
	Queued, Running, Delayed, Failed, Done, Cancelled int64
	OldestQueued                                      time.Duration // 0 where nothing is queued
}

// Live jobs are counted in the narrow tables, ended ones from their deltas: none of it reads the history.
const countsSQL = `
select
    q.n, q.oldest,
    (select count(*) from claims c, unnest(c.job_ids, c.leases) as u(job_id, lease)
        join jobs j on j.id = u.job_id and j.lease = u.lease
        where j.worker = c.worker and ($1 = '' or j.tenant = $1)),
    (select count(*) from delayed where $1 = '' or tenant = $1),
    e.failed, e.done, e.cancelled
from (select count(*) as n, coalesce(extract(epoch from clock_timestamp() - min(since)), 0)::float8 as oldest
      from ready where $1 = '' or tenant = $1) q,
     (select coalesce(sum(n) filter (where state = 'failed'), 0)::bigint as failed,
             coalesce(sum(n) filter (where state = 'done'), 0)::bigint as done,
             coalesce(sum(n) filter (where state = 'cancelled'), 0)::bigint as cancelled
      from ended_counts where $1 = '' or tenant = $1) e`

// Counts counts a tenant's jobs; "" counts everybody's.
func (q *Queue) Counts(ctx context.Context, tenant string) (Counts, error) {
	var c Counts
	var oldest float64
	err := q.db.QueryRow(ctx, countsSQL, tenant).
		Scan(&c.Queued, &oldest, &c.Running, &c.Delayed, &c.Failed, &c.Done, &c.Cancelled)
	c.OldestQueued = time.Duration(max(0, oldest) * float64(time.Second))
	return c, wrap("count jobs", err)
}

const inFlightSQL = `
select c.line, count(*)
from claims c, unnest(c.job_ids, c.leases) as u(job_id, lease)
join jobs j on j.id = u.job_id and j.lease = u.lease
where j.worker = c.worker and ($1 = '' or j.tenant = $1)
group by c.line`

// InFlight counts a tenant's running jobs of each line; "" counts everybody's.
func (q *Queue) InFlight(ctx context.Context, tenant string) (map[string]int64, error) {
	return q.byName(ctx, inFlightSQL, tenant)
}

func (q *Queue) byName(ctx context.Context, sql string, args ...any) (map[string]int64, error) {
	rows, err := q.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("count by name: %w", err)
	}
	counts := map[string]int64{}
	var name string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error {
		counts[name] = n
		return nil
	})
	return counts, wrap("count by name", err)
}

const positionSQL = `
select count(*), count(*) filter (where tenant <> $5) from (
    select tenant from ready where line = $1 and (priority, seq) < ($2::smallint, $3::bigint) limit $4
) ahead`

// Position counts the jobs ahead of a queued one in its line, up to MaxPosition, and how many of them are other tenants'.
func (q *Queue) Position(ctx context.Context, job Job) (ahead, others int, err error) {
	return q.ahead(ctx, job.Line(), job.Priority, job.seq, job.Tenant)
}

// Ahead is Position for a job that is not there yet.
func (q *Queue) Ahead(ctx context.Context, line string, priority int, tenant string) (ahead, others int, err error) {
	return q.ahead(ctx, line, priority, math.MaxInt64, tenant)
}

func (q *Queue) ahead(ctx context.Context, line string, priority int, seq int64, tenant string) (ahead, others int, err error) {
	err = q.db.QueryRow(ctx, positionSQL, line, priority, seq, MaxPosition, tenant).Scan(&ahead, &others)
	return ahead, others, wrap("position", err)
}

const servedSQL = `select exists (select from workers where $1 = any (types) and (lines is null or $2 = any (lines)))`

// Served tells whether a living worker has a handler for the type, and claims from the line.
func (q *Queue) Served(ctx context.Context, jobType, line string) (served bool, err error) {
	err = q.db.QueryRow(ctx, servedSQL, jobType, line).Scan(&served)
	return served, wrap("look for a worker", err)
}

// Backlog counts the queued jobs that could start now, over all tenants.
func (q *Queue) Backlog(ctx context.Context) (n int64, err error) {
	err = q.db.QueryRow(ctx, `select runnable_backlog()`).Scan(&n)
	return n, wrap("count the backlog", err)
}

package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Known is what a watcher knows of a job. One with an ID alone knows nothing yet.
type Known struct {
	ID        uuid.UUID
	State     State
	Lease     int64
	UpdatedAt time.Time
}

// Known is what there is to know of the job: any change of its state changes it.
func (j Job) Known() Known {
	return Known{ID: j.ID, State: j.State, Lease: j.Lease, UpdatedAt: j.UpdatedAt}
}

// News is a job that is not, or not any more, as its watcher knew it. It has no Payload, and its Result has no `response`;
// a result of more than MaxNewsResult is left out.
type News struct {
	Job
	Gone        bool     // there is no job with this ID, which is all that is known
	LastOutcome *Outcome // of the latest attempt, while the job is delayed
	LastStatus  *int     // its HTTP status
}

// MaxNewsResult is the largest result, in bytes as it is stored, of which News tells.
const MaxNewsResult = 256 << 10

// Of thousands of jobs that are watched few have changed: each costs a look at its row, by its id, and only those that
// changed are read and sent. The payload is never touched; a result is read only once its stored size says that it is small.
const newsSQL = `
select j.id is null, k.id, j.tenant, j.type, j.state, j.priority, j.attempts, j.max_attempts, j.lease, j.worker, j.upstream,
    j.idempotency_key, j.callback_url, j.scheduled_at, j.expires_at, j.deadline_at, j.created_at, j.updated_at, j.started_at,
    j.finished_at, j.held_at, j.last_error, j.seq,
    case when j.state = 'done' and pg_column_size(j.result) <= $5 then
        case when octet_length(j.result::text) <= $5 then
            json_build_object('output_text', j.result->'output_text', 'usage', j.result->'usage') end end,
    case when j.state = 'delayed' then (select outcome from attempts a where a.job_id = j.id and a.number = j.lease) end,
    case when j.state = 'delayed' then (select status from attempts a where a.job_id = j.id and a.number = j.lease) end
from unnest($1::uuid[], $2::text[], $3::bigint[], $4::timestamptz[]) as k(id, state, lease, updated_at)
left join jobs j on j.id = k.id
where j.id is null or (j.state, j.lease, j.updated_at) is distinct from (k.state, k.lease, k.updated_at)`

// News tells, in one statement, which of the jobs that somebody watches have changed, whoever's they are: to show each job
// to its tenant alone is the caller's to see to.
func (q *Queue) News(ctx context.Context, known ...Known) ([]News, error) {
	news, err := planned(ctx, q.db, once, scanNews, newsSQL,
		ids(known, func(k Known) uuid.UUID { return k.ID }),
		of(known, func(k Known) string { return string(k.State) }),
		of(known, func(k Known) int64 { return k.Lease }),
		of(known, func(k Known) time.Time { return k.UpdatedAt }),
		MaxNewsResult)
	return news, wrap("look for news", err)
}

func scanNews(r pgx.CollectableRow) (n News, err error) {
	places := []any{&n.Gone, &n.ID, &n.Tenant, &n.Type, &n.State, &n.Priority, &n.Attempts, &n.MaxAttempts, &n.Lease, &n.Worker,
		&n.Upstream, &n.IdempotencyKey, &n.CallbackURL, &n.ScheduledAt, &n.ExpiresAt, &n.DeadlineAt, &n.CreatedAt, &n.UpdatedAt,
		&n.StartedAt, &n.FinishedAt, &n.HeldAt, &n.LastError, &n.seq, raw(&n.Result), &n.LastOutcome, &n.LastStatus}
	if r.RawValues()[2] == nil { // no job
		clear(places[2:])
	}
	return n, r.Scan(places...)
}

// Standing is one place of a line.
type Standing struct {
	JobID  uuid.UUID
	Tenant string
}

const frontSQL = `select job_id, tenant from ready where line = $1 order by priority, seq limit $2`

// Front reads the first MaxPosition jobs of a line, in their order: the places of all who are watched at once.
func (q *Queue) Front(ctx context.Context, line string) ([]Standing, error) {
	rows, err := q.db.Query(ctx, frontSQL, line, MaxPosition)
	if err != nil {
		return nil, fmt.Errorf("front of a line: %w", err)
	}
	front, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Standing])
	return front, wrap("front of a line", err)
}

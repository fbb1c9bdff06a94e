package queue

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
)

// bulkJobs is from how many on jobs are stored by COPY: it takes half the time of a statement, but four more round trips.
const bulkJobs = 200

// errKeyed says that a job has a key, which COPY cannot look up.
var errKeyed = errors.New("a job has an idempotency key")

// A place in line for each, and the clock that all of them go by.
const placesSQL = `select clock_timestamp(), array(select nextval('jobs_seq') from generate_series(1, $1))`

// copyIn stores jobs without keys, all or none, and reads them meanwhile.
func (q *Queue) copyIn(ctx context.Context, batch Batch, names []uuid.UUID) (made []Enqueued, err error) {
	if first, err := q.rowOf(batch, 0); err != nil {
		return nil, err
	} else if first.key != nil { // and so have the others, most likely
		return nil, errKeyed
	}
	err = pg.InTx(ctx, q.db, func(tx pgx.Tx) error {
		b := &bulk{read: func(i int) (row, error) { return q.rowOf(batch, i) }, names: names}
		if err := tx.QueryRow(ctx, placesSQL, batch.Len).Scan(&b.now, &b.places); err != nil {
			return err
		}
		if names == nil {
			b.names = newIDs(b.now, batch.Len)
		}
		if err := b.copyTo(ctx, tx); err != nil {
			return err
		}
		made = of(b.jobs, bulkJob.enqueued)
		return nil
	})
	return made, err
}

// bulk is a batch on its way into the tables. As a pgx.CopyFromSource it is the rows of jobs, which are read as they go.
type bulk struct {
	read           func(i int) (row, error)
	fault          error // of read
	names          []uuid.UUID
	places         []int64
	now            time.Time
	jobs           []bulkJob
	ready, delayed []*bulkJob // each of jobs is in one of them
}

type bulkJob struct {
	row
	id                     pgtype.UUID // as pgx takes it without a detour
	place                  int64
	state                  State
	scheduledAt, expiresAt *time.Time
}

// Next reads the next job. One that cannot be stored ends the COPY as if it were the end, and then the transaction: the
// server's log is not for a client's mistakes.
func (b *bulk) Next() bool {
	i := len(b.jobs)
	if i == len(b.places) {
		return false
	}
	r, err := b.read(i)
	if err == nil && r.key != nil {
		err = errKeyed
	}
	j := r.at(b.now)
	if err == nil && j.scheduledAt != nil && j.scheduledAt.Sub(b.now) > jobtype.MaxDelay {
		err = tooLate(i)
	}
	if err != nil {
		b.fault = err
		return false
	}
	j.id, j.place = pgtype.UUID{Bytes: b.names[i], Valid: true}, b.places[i]
	b.add(j)
	return true
}

func (b *bulk) add(job bulkJob) {
	if b.jobs == nil {
		b.jobs = make([]bulkJob, 0, len(b.places))
	}
	b.jobs = append(b.jobs, job)
	j := &b.jobs[len(b.jobs)-1]
	if j.state == Delayed {
		b.delayed = append(b.delayed, j)
	} else {
		b.ready = append(b.ready, j)
	}
}

// at is the row as enqueueSQL would have it at a time.
func (r row) at(now time.Time) bulkJob {
	j := bulkJob{row: r, state: Queued, scheduledAt: r.scheduledAt}
	if r.delayMS != nil {
		j.scheduledAt = new(now.Add(milliseconds(*r.delayMS)))
	}
	from := now
	if j.scheduledAt != nil && j.scheduledAt.After(now) {
		j.state, from = Delayed, *j.scheduledAt
	}
	if r.maxWaitMS != nil {
		j.expiresAt = new(from.Add(milliseconds(*r.maxWaitMS)))
	}
	return j
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

func (j bulkJob) enqueued() Enqueued {
	return Enqueued{ID: j.id.Bytes, State: j.state, Priority: j.priority, Upstream: j.upstream, Line: j.line}
}

var (
	intoJobs = []string{"id", "tenant", "type", "state", "priority", "payload", "max_attempts", "upstream", "callback_url",
		"scheduled_at", "expires_at", "created_at", "updated_at", "seq", "traceparent"}
	intoReady   = []string{"line", "priority", "seq", "job_id", "tenant", "type", "since", "expires_at"}
	intoDelayed = []string{"due_at", "job_id", "tenant", "line", "expires_at"}
)

// Values are those of the job that Next read.
func (b *bulk) Values() ([]any, error) {
	j := &b.jobs[len(b.jobs)-1]
	return []any{j.id, j.tenant, j.jobType, string(j.state), int16(j.priority), j.payload, int32(j.maxAttempts), j.upstream, j.callback,
		j.scheduledAt, j.expiresAt, b.now, b.now, j.place, j.traceparent}, nil
}

// Err is nil: see Next.
func (b *bulk) Err() error { return nil }

// copyTo needs no order of locks: nobody can see these rows yet, or wait for one.
func (b *bulk) copyTo(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"jobs"}, intoJobs, b)
	if err == nil {
		err = b.fault
	}
	if err == nil && len(b.ready) > 0 {
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"ready"}, intoReady, pgx.CopyFromSlice(len(b.ready), func(i int) ([]any, error) {
			j := b.ready[i]
			return []any{j.line, int16(j.priority), j.place, j.id, j.tenant, j.jobType, b.now, j.expiresAt}, nil
		}))
	}
	if err == nil && len(b.delayed) > 0 {
		_, err = tx.CopyFrom(ctx, pgx.Identifier{"delayed"}, intoDelayed, pgx.CopyFromSlice(len(b.delayed), func(i int) ([]any, error) {
			j := b.delayed[i]
			return []any{j.scheduledAt, j.id, j.tenant, j.line, j.expiresAt}, nil
		}))
	}
	return err
}

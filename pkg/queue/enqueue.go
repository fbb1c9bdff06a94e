package queue

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/strictjson"
)

// NewJob is a job to enqueue. Nil and "" mean the type's default.
type NewJob struct {
	Tenant         string
	Type           string
	Payload        json.RawMessage // kept byte for byte
	Priority       *int
	MaxAttempts    *int
	ScheduledAt    *time.Time     // not before; a past time means now
	Delay          *time.Duration // the same, from the database's now; excludes ScheduledAt
	IdempotencyKey string         // names the request within the tenant for as long as the job exists
	CallbackURL    string
	Traceparent    string // of the trace that enqueues it, W3C; "": none. No part of what a key stands for
}

// Enqueued tells what became of a NewJob. Replayed: its key named an earlier job, and this is that one.
type Enqueued struct {
	ID       uuid.UUID
	State    State
	Priority int     // of the request
	Upstream *string // nil: not paced
	Line     string  // who it waits with: for Bell
	Replayed bool
}

// Batch is jobs to enqueue together, which are read one by one: while the first are on their way to the database, the next
// ones are still being made.
type Batch struct {
	Len int
	Job func(i int) (NewJob, error) // may be asked for one again; its error ends the enqueue, and is what that returns
}

// Jobs makes a Batch of jobs that are all there.
func Jobs(jobs ...NewJob) Batch {
	return Batch{len(jobs), func(i int) (NewJob, error) { return jobs[i], nil }}
}

// Enqueue accepts jobs, all or none, and answers in their order. When it returns without an error they are durable.
// *Invalid names the first job and field out of bounds, *KeyReused a key that came before with another request. The same
// key within one call, or in calls at the same moment, makes one job.
func (q *Queue) Enqueue(ctx context.Context, jobs ...NewJob) ([]Enqueued, error) {
	return q.enqueueBatch(ctx, Jobs(jobs...), nil)
}

// enqueueBatch enqueues under names, where those are given.
func (q *Queue) enqueueBatch(ctx context.Context, batch Batch, names []uuid.UUID) ([]Enqueued, error) {
	if batch.Len >= bulkJobs && batch.Len <= MaxBatch {
		made, err := q.copyIn(ctx, batch, names)
		if !errors.Is(err, errKeyed) {
			return made, enqueueError(err)
		}
	}
	rows, err := q.rows(batch)
	if err != nil {
		return nil, enqueueError(err)
	}
	for i := range names {
		rows[i].id = &names[i]
	}
	return q.enqueue(ctx, rows)
}

func (q *Queue) enqueue(ctx context.Context, rows []row) ([]Enqueued, error) {
	first, err := firstOfKey(rows)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(rows, func(r row) bool { return r.key != nil }) {
		made, err := insert(ctx, q.db, rows, together)
		if err == nil {
			err = firstFault(made)
		}
		return accepted(made), enqueueError(err)
	}
	made, err := q.insertKeyed(ctx, rows, first)
	return made, enqueueError(err)
}

// enqueueError leaves what is the request's fault as it is, and wraps the rest.
func enqueueError(err error) error {
	var callers *errOfCaller
	var invalid *Invalid
	var reused *KeyReused
	switch {
	case errors.As(err, &callers):
		return callers.error
	case errors.As(err, &invalid):
		return invalid
	case errors.As(err, &reused):
		return reused
	}
	return wrap("enqueue", err)
}

// row is a NewJob with its defaults, as enqueueSQL takes it.
type row struct {
	id                    *uuid.UUID // nil: made by the database
	tenant, jobType, line string
	upstream              *string
	priority, maxAttempts int
	payload               string
	scheduledAt           *time.Time
	delayMS, maxWaitMS    *int64
	key, callback         *string
	traceparent           *string
	hash                  []byte
}

// uuid is the row's id as every mode of pgx can send it: a *uuid.UUID has to be told by the server that it is one.
func (r row) uuid() pgtype.UUID {
	return pgtype.UUID{Bytes: deref(r.id, uuid.Nil), Valid: r.id != nil}
}

func (q *Queue) rows(batch Batch) ([]row, error) {
	if batch.Len == 0 || batch.Len > MaxBatch {
		return nil, &Invalid{Field: "body", Message: fmt.Sprintf("must have 1 to %d jobs", MaxBatch)}
	}
	rows := make([]row, batch.Len)
	for i := range rows {
		var err error
		if rows[i], err = q.rowOf(batch, i); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// errOfCaller is what a Batch's Job failed with.
type errOfCaller struct{ error }

func (q *Queue) rowOf(batch Batch, i int) (row, error) {
	job, err := batch.Job(i)
	if err != nil {
		return row{}, &errOfCaller{err}
	}
	r, err := q.row(job)
	return r, at(err, func(int) int { return i })
}

func (q *Queue) row(j NewJob) (row, error) {
	t, ok := q.types.Lookup(j.Type)
	if !ok {
		return row{}, &Invalid{Field: "type", Message: fmt.Sprintf("%.100q is not a type of the configuration", j.Type)}
	}
	if err := j.bounds(); err != nil {
		return row{}, err
	}
	model, err := t.Check(j.Payload)
	if err != nil {
		var fault *strictjson.Error
		if errors.As(err, &fault) {
			return row{}, &Invalid{Field: fault.Field, Message: fault.Message}
		}
		return row{}, err
	}
	r := row{
		tenant: cmp.Or(j.Tenant, DefaultTenant), jobType: t.Name, line: t.Name,
		priority: deref(j.Priority, t.Priority), maxAttempts: deref(j.MaxAttempts, t.MaxAttempts),
		payload: string(j.Payload), scheduledAt: j.ScheduledAt,
		key: orNil(j.IdempotencyKey), callback: orNil(j.CallbackURL),
	}
	if len(j.Traceparent) <= maxTraceparent {
		r.traceparent = orNil(j.Traceparent)
	}
	if t.Upstream != "" {
		r.line = jobtype.UpstreamName(t.Upstream, model)
		r.upstream = &r.line
	}
	if j.Delay != nil {
		r.delayMS = new(j.Delay.Milliseconds())
	}
	if t.MaxWait > 0 {
		r.maxWaitMS = new(t.MaxWait.Milliseconds())
	}
	if r.key != nil {
		r.hash = j.hash()
	}
	return r, nil
}

func (j NewJob) bounds() error {
	outside := func(p *int, low, high int) bool { return p != nil && (*p < low || *p > high) }
	switch {
	case outside(j.Priority, jobtype.MinPriority, jobtype.MaxPriority):
		return &Invalid{Field: "priority", Message: fmt.Sprintf("must be from %d to %d", jobtype.MinPriority, jobtype.MaxPriority)}
	case outside(j.MaxAttempts, jobtype.MinAttempts, jobtype.MaxAttempts):
		return &Invalid{Field: "max_attempts", Message: fmt.Sprintf("must be from %d to %d", jobtype.MinAttempts, jobtype.MaxAttempts)}
	case j.ScheduledAt != nil && j.Delay != nil:
		return &Invalid{Field: "delay_ms", Message: "scheduled_at and delay_ms exclude each other"}
	case j.Delay != nil && (*j.Delay < 0 || *j.Delay > jobtype.MaxDelay):
		return &Invalid{Field: "delay_ms", Message: "must be from 0 to 30 days"}
	case !storable(j.IdempotencyKey):
		return &Invalid{Field: "idempotency_key", Message: "must be valid UTF-8 without NUL"}
	case utf8.RuneCountInString(j.IdempotencyKey) > MaxKey:
		return &Invalid{Field: "idempotency_key", Message: fmt.Sprintf("must have 1 to %d characters", MaxKey)}
	case !storable(j.CallbackURL):
		return &Invalid{Field: "callback_url", Message: "must be valid UTF-8 without NUL"}
	case utf8.RuneCountInString(j.CallbackURL) > MaxCallback:
		return &Invalid{Field: "callback_url", Message: fmt.Sprintf("must have at most %d characters", MaxCallback)}
	}
	return nil
}

// storable tells whether a text column can hold the text.
func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// hash is of everything that the request said but its key. enqueue_job() computes the same in SQL, so that a key holds
// across both ways in.
func (j NewJob) hash() []byte {
	number := func(p *int) string {
		if p == nil {
			return ""
		}
		return strconv.Itoa(*p)
	}
	var at, delay string
	if j.ScheduledAt != nil {
		at = j.ScheduledAt.UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	if j.Delay != nil {
		delay = strconv.FormatInt(j.Delay.Milliseconds(), 10)
	}
	sum := sha256.Sum256([]byte(j.Type + "\n" + number(j.Priority) + "\n" + number(j.MaxAttempts) + "\n" +
		at + "\n" + delay + "\n" + j.CallbackURL + "\n" + string(j.Payload)))
	return sum[:]
}

type tenantKey struct{ tenant, key string }

// firstOfKey finds for each row the first one of the call with the same key: itself, where it has none.
func firstOfKey(rows []row) ([]int, error) {
	first := make([]int, len(rows))
	seen := map[tenantKey]int{}
	for i, r := range rows {
		first[i] = i
		if r.key == nil {
			continue
		}
		k := tenantKey{r.tenant, *r.key}
		if at, ok := seen[k]; !ok {
			seen[k] = i
		} else if !slices.Equal(rows[at].hash, r.hash) {
			return nil, &KeyReused{Index: i}
		} else {
			first[i] = at
		}
	}
	return first, nil
}

// onlyFirst is the first row of each key, and for every row the place of its first one among them.
func onlyFirst(rows []row, first []int) (unique []row, place []int) {
	place = make([]int, len(rows))
	for i, r := range rows {
		if first[i] == i {
			place[i] = len(unique)
			unique = append(unique, r)
		} else {
			place[i] = place[first[i]]
		}
	}
	return unique, place
}

// insertKeyed inserts the first row of each key in one transaction and looks up the earlier job where a key is taken.
// A second statement does that: the first one's snapshot may be older than the job it collided with.
func (q *Queue) insertKeyed(ctx context.Context, rows []row, first []int) ([]Enqueued, error) {
	unique, place := onlyFirst(rows, first)
	var made []fate
	// Two batches with the same keys take them in one order (enqueueSQL sorts), but a batch inside a caller's transaction
	// may still deadlock with another: it is simply done again.
	store := func(tx pgx.Tx) (err error) {
		if made, err = insert(ctx, tx, unique, together); err != nil {
			return err
		}
		if err := firstFault(made); err != nil {
			return err // and nothing was stored
		}
		if err := earlier(ctx, tx, unique, made); err != nil {
			return err
		}
		return firstFault(made)
	}
	err := errForgotten
	for n := 0; errors.Is(err, errForgotten) && n < groupTries; n++ {
		err = pg.Retry(ctx, func() error { return pg.InTx(ctx, q.db, store) })
	}
	if err != nil {
		return nil, at(err, func(i int) int { return slices.Index(place, i) })
	}
	all := make([]Enqueued, len(rows))
	for i := range rows {
		all[i] = made[place[i]].Enqueued
		all[i].Replayed = all[i].Replayed || first[i] != i
	}
	return all, nil
}

// at turns the index that an error names among the rows of a statement into one of the call.
func at(err error, call func(int) int) error {
	var reused *KeyReused
	if errors.As(err, &reused) {
		reused.Index = call(reused.Index)
	}
	var invalid *Invalid
	if errors.As(err, &invalid) {
		invalid.Index = call(invalid.Index)
	}
	return err
}

// Rows with a key go in sorted, so that two calls that share keys wait for each other in one order. A row whose key is
// taken comes back without an id, as does one whose own id is there already: it was stored by an earlier try. One row
// that is too far ahead, by the database's clock, keeps all of them out where they belong together ($14), else itself.
// $15 is how long to wait for another transaction that holds a key: set for this statement alone, and before it needs it.
const enqueueSQL = enqueueHead + `    on conflict do nothing
` + enqueueTail

// enqueueNewSQL is for rows that can collide with nothing, and spares them the look at each unique index before.
const enqueueNewSQL = enqueueHead + enqueueTail

const enqueueHead = `
with given as materialized (
    select coalesce(g.id, uuid_v7()) as id, nextval('jobs_seq') as seq, g.ord, g.tenant, g.type, g.upstream,
        g.priority::smallint as priority, g.payload, g.max_attempts, g.key, g.hash, g.callback, g.traceparent, clock.now,
        case when g.delay_ms is null then g.scheduled_at
             else clock.now + g.delay_ms * interval '1 millisecond' end as scheduled_at, g.max_wait_ms,
        coalesce(g.scheduled_at > clock.now + interval '30 days', false) as too_late
    from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::int[], $7::text[], $8::bytea[],
                $9::text[], $10::timestamptz[], $11::bigint[], $12::bigint[], $13::uuid[], $16::text[])
        with ordinality as g(tenant, type, upstream, priority, payload, max_attempts, key, hash, callback,
                             scheduled_at, delay_ms, max_wait_ms, id, traceparent, ord),
        (select clock_timestamp() as now, case when $15 <> '' then set_config('lock_timeout', $15, true) end) clock
), timed as (
    select *, coalesce(scheduled_at > now, false) as waits,
        greatest(now, scheduled_at) + max_wait_ms * interval '1 millisecond' as expires_at
    from given
), job as (
    insert into jobs (id, tenant, type, state, priority, payload, max_attempts, upstream, idempotency_key, request_hash,
        callback_url, traceparent, scheduled_at, expires_at, created_at, updated_at, seq)
    select id, tenant, type, case when waits then 'delayed' else 'queued' end, priority, payload::json, max_attempts,
        upstream, key, hash, callback, traceparent, scheduled_at, expires_at, now, now, seq
    from timed
    where not too_late and not ($14 and exists (select from given where too_late))
    order by tenant, key, seq
`

const enqueueTail = `    returning id, tenant, type, state, priority, upstream, scheduled_at, expires_at, created_at, seq
), line as (
    insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
    select coalesce(upstream, type), priority, seq, id, tenant, type, created_at, expires_at
    from job where state = 'queued'
), later as (
    insert into delayed (due_at, job_id, tenant, line, expires_at)
    select scheduled_at, id, tenant, coalesce(upstream, type), expires_at
    from job where state = 'delayed'
)
select job.id, coalesce(job.state, ''), given.too_late
from given left join job using (id)
order by given.ord`

// fate is what became of a row.
type fate struct {
	Enqueued
	fault error // *Invalid or *KeyReused
}

// terms are those of one statement.
type terms struct {
	together bool   // all or none
	patience string // for the locks of others, as lock_timeout has it; "": as the server has it
	again    bool   // the rows may be there already, by their ids
}

var together = terms{together: true}

func firstFault(fates []fate) error {
	for _, f := range fates {
		if f.fault != nil {
			return f.fault
		}
	}
	return nil
}

func accepted(fates []fate) []Enqueued {
	return of(fates, func(f fate) Enqueued { return f.Enqueued })
}

// insert stores rows. Those that collided have no id afterwards: see earlier.
func insert(ctx context.Context, db pg.DB, rows []row, on terms) ([]fate, error) {
	sql := enqueueNewSQL
	if on.again || slices.ContainsFunc(rows, func(r row) bool { return r.key != nil }) {
		sql = enqueueSQL
	}
	result, err := db.Query(ctx, sql,
		of(rows, func(r row) string { return r.tenant }),
		of(rows, func(r row) string { return r.jobType }),
		of(rows, func(r row) *string { return r.upstream }),
		of(rows, func(r row) int { return r.priority }),
		of(rows, func(r row) string { return r.payload }),
		of(rows, func(r row) int { return r.maxAttempts }),
		of(rows, func(r row) *string { return r.key }),
		of(rows, func(r row) []byte { return r.hash }),
		of(rows, func(r row) *string { return r.callback }),
		of(rows, func(r row) *time.Time { return r.scheduledAt }),
		of(rows, func(r row) *int64 { return r.delayMS }),
		of(rows, func(r row) *int64 { return r.maxWaitMS }),
		of(rows, row.uuid),
		on.together, on.patience, traceparents(rows))
	if err != nil {
		return nil, err
	}
	made := make([]fate, 0, len(rows))
	var id *uuid.UUID
	var state State
	var late bool
	_, err = pgx.ForEachRow(result, []any{&id, &state, &late}, func() error {
		r := rows[len(made)]
		f := fate{Enqueued: Enqueued{State: state, Priority: r.priority, Upstream: r.upstream, Line: r.line}}
		if id != nil {
			f.ID = *id
		}
		if late {
			f.fault = tooLate(len(made))
		}
		made = append(made, f)
		return nil
	})
	return made, err
}

func tooLate(index int) *Invalid {
	return &Invalid{Index: index, Field: "scheduled_at", Message: "must be at most 30 days ahead"}
}

// traceparents is nil, which costs nothing, where no row has one.
func traceparents(rows []row) pgtype.FlatArray[*string] {
	if !slices.ContainsFunc(rows, func(r row) bool { return r.traceparent != nil }) {
		return nil
	}
	return of(rows, func(r row) *string { return r.traceparent })
}

// errForgotten says that a key was free again by the time at which its earlier job was looked up: to store the rows anew is safe.
var errForgotten = errors.New("a job was deleted while its idempotency key was used again; try again")

const earlierSQL = `
select g.ord - 1, j.id, j.state, coalesce(j.request_hash = g.hash, true), j.id is distinct from g.id
from unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[]) with ordinality as g(tenant, key, hash, id, ord), lateral (
    select id, state, request_hash from jobs where tenant = g.tenant and idempotency_key = g.key
    union all
    select id, state, request_hash from jobs where id = g.id and g.key is null
) j`

// earlier fills in the jobs that the rows without an id collided with.
func earlier(ctx context.Context, db pg.DB, rows []row, made []fate) error {
	var taken []row
	var place []int
	for i, m := range made {
		if m.ID == uuid.Nil && m.fault == nil {
			taken, place = append(taken, rows[i]), append(place, i)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	result, err := db.Query(ctx, earlierSQL,
		of(taken, func(r row) string { return r.tenant }),
		of(taken, func(r row) *string { return r.key }),
		of(taken, func(r row) []byte { return r.hash }),
		of(taken, row.uuid))
	if err != nil {
		return err
	}
	var ord int
	var id uuid.UUID
	var state State
	var same, others bool
	tag, err := pgx.ForEachRow(result, []any{&ord, &id, &state, &same, &others}, func() error {
		f := &made[place[ord]]
		if !same {
			f.fault = &KeyReused{Index: place[ord]}
			return nil
		}
		f.ID, f.State, f.Replayed = id, state, others
		return nil
	})
	if err == nil && int(tag.RowsAffected()) != len(taken) {
		return errForgotten
	}
	return err
}

func deref[T any](p *T, or T) T {
	if p != nil {
		return *p
	}
	return or
}

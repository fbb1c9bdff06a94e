package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// mixed is job i of a batch in which every kind of job comes.
func mixed(i int) NewJob {
	job := NewJob{Type: []string{"chat", "patient", "paced", "free"}[i%4], Payload: json.RawMessage(fmt.Sprintf(`{"input":"%d \u00e9", "n":1e2}`, i))}
	if i%3 == 0 {
		job.Priority, job.MaxAttempts, job.Tenant, job.CallbackURL = new(2), new(7), "acme", "https://app.example/hook"
		job.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	}
	switch i % 5 {
	case 1:
		job.Delay = new(time.Hour)
	case 2:
		job.ScheduledAt = new(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) // past
	case 3:
		job.ScheduledAt = new(time.Now().Add(48 * time.Hour).Truncate(time.Second))
	}
	if i%28 == 0 { // a chat
		job.Payload = json.RawMessage(fmt.Sprintf(`{"input":"%d","request":{"model":"gpt-5-mini"}}`, i))
	}
	return job
}

// stored is everything that an enqueue writes of the jobs, with times as ages and without what differs by chance.
const stored = `
select coalesce(json_agg(row order by seq), '[]')::text
from (
    select j.seq, json_build_array(j.tenant, j.type, j.state, j.priority, j.payload::text, j.attempts, j.max_attempts, j.lease, j.worker,
        j.upstream, j.idempotency_key, j.request_hash, j.callback_url, j.traceparent, j.expires_at - greatest(j.created_at, j.scheduled_at), j.created_at = j.updated_at,
        case when j.scheduled_at - j.created_at = interval '1 hour' then 'in an hour' else j.scheduled_at::text end,
        (select json_agg(json_build_array(r.line, r.priority, r.seq = j.seq, r.tenant, r.type, r.since = j.created_at, r.expires_at = j.expires_at)) from ready r where r.job_id = j.id),
        (select json_agg(json_build_array(d.due_at = j.scheduled_at, d.tenant, d.line, d.expires_at = j.expires_at)) from delayed d where d.job_id = j.id)) as row
    from jobs j) rows`

func TestBulkStoresWhatAStatementStores(t *testing.T) {
	t.Parallel()
	const n = bulkJobs + 50
	jobs := make([]NewJob, n)
	for i := range jobs {
		if jobs[i] = mixed(i); jobs[i].Delay != nil && jobs[i].Type == "free" {
			jobs[i].Type = "paced" // whose times are compared as ages
		}
	}
	f, g := newFixture(t), newFixture(t)
	bulk := must[[]Enqueued](f)(f.Enqueue(t.Context(), jobs...))
	for i := range jobs {
		told := func(e Enqueued) string { return fmt.Sprint(e.Upstream != nil, e.State, e.Priority, e.Line, e.Replayed) }
		if alone := must[[]Enqueued](g)(g.Enqueue(t.Context(), jobs[i]))[0]; told(alone) != told(bulk[i]) {
			t.Errorf("job %d: %+v in a batch, %+v alone", i, bulk[i], alone)
		}
	}
	if got, want := one[string](f, stored), one[string](g, stored); got != want {
		t.Errorf("a batch stores\n%s\nand its jobs one by one\n%s", got, want)
	}
	for i, m := range bulk {
		if payload := one[string](f, `select payload::text from jobs where id = $1`, m.ID); payload != string(jobs[i].Payload) {
			t.Fatalf("id %d names the job with %s", i, payload)
		}
	}
	f.wantConsistent()
}

func TestBulkIsAllOrNone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mine := errors.New("the caller's own")
	const bad = bulkJobs + 10
	for name, c := range map[string]struct {
		job   NewJob
		err   error
		field string
	}{
		"unknown type": {NewJob{Type: "no.such", Payload: prompt}, nil, "type"},
		"too late":     {NewJob{Type: "chat", Payload: prompt, ScheduledAt: new(time.Now().Add(jobtype.MaxDelay + time.Hour))}, nil, "scheduled_at"},
		"payload":      {NewJob{Type: "chat", Payload: json.RawMessage(`{"input":"\u0000"}`)}, nil, "payload.input"},
		"caller":       {NewJob{}, mine, ""},
	} {
		_, err := f.enqueueBatch(t.Context(), Batch{bad + 10, func(i int) (NewJob, error) {
			if i == bad {
				return c.job, c.err
			}
			return mixed(i), nil
		}}, nil)
		var invalid *Invalid
		if c.err != nil && err != mine || c.err == nil && (!errors.As(err, &invalid) || invalid.Index != bad || invalid.Field != c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := one[int](f, `select count(*) from (select from jobs union all select from ready union all select from delayed) all_of_them`); n != 0 {
		t.Errorf("%d rows were stored", n)
	}
}

// A key late in a batch is only seen when others are already on their way.
func TestBulkWithALateKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const keyed = bulkJobs + 10
	jobs := make([]NewJob, bulkJobs+50)
	for i := range jobs {
		jobs[i] = mixed(i)
	}
	jobs[keyed].IdempotencyKey = "k"
	before := f.add(jobs[keyed])[0]
	made := must[[]Enqueued](f)(f.Enqueue(t.Context(), jobs...))
	for i, m := range made {
		if m.Replayed != (i == keyed) || (m.ID == before) != (i == keyed) {
			t.Errorf("job %d: %+v", i, m)
		}
	}
	if n := one[int](f, `select count(*) from jobs`); n != len(jobs) {
		t.Errorf("%d jobs are stored, want %d", n, len(jobs))
	}
	f.wantConsistent()
}

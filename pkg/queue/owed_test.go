package queue

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

const callback = "https://hooks.example.com/sluice?x=1"

// owed are the deliveries of a job in short, in their order: "job.done https://...".
func (f fixture) owed(id uuid.UUID) []string {
	f.Helper()
	return one[[]string](f, `select coalesce(array_agg(event || ' ' || url order by id), '{}') from webhook_deliveries
		where job_id = $1 and due_at <= now() and attempts = 0`, id)
}

func (f fixture) wantOwed(id uuid.UUID, want ...string) {
	f.Helper()
	if got := f.owed(id); !slices.Equal(got, want) {
		f.Errorf("owed %q; want %q", got, want)
	}
}

func (f fixture) told(jobType string) uuid.UUID {
	f.Helper()
	return f.add(NewJob{Type: jobType, Payload: prompt, CallbackURL: callback})[0]
}

// Every statement that ends jobs is here, and each way through it.
func TestEveryEndOwesADelivery(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name string
		want State
		end  func(f fixture) uuid.UUID
	}{
		{"done", Done, func(f fixture) uuid.UUID {
			id := f.told("chat")
			f.end("w", ok(f.claimOne("w")))
			return id
		}},
		{"rejected", Failed, func(f fixture) uuid.UUID {
			id := f.told("chat")
			j := f.claimOne("w")
			f.end("w", End{JobID: id, Lease: j.Lease, Outcome: Rejected, Charged: true, State: Failed, Error: "no"})
			return id
		}},
		{"an answer that cannot be kept", Failed, func(f fixture) uuid.UUID {
			id := f.told("chat")
			e := ok(f.claimOne("w"))
			e.Result = json.RawMessage(`{`)
			f.end("w", e)
			return id
		}},
		{"cancelled while queued", Cancelled, func(f fixture) uuid.UUID {
			id := f.told("chat")
			must[Job](f)(f.Cancel(f.Context(), DefaultTenant, id))
			return id
		}},
		{"cancelled while delayed", Cancelled, func(f fixture) uuid.UUID {
			id := f.add(NewJob{Type: "chat", Payload: prompt, CallbackURL: callback, Delay: new(time.Hour)})[0]
			must[Job](f)(f.Cancel(f.Context(), DefaultTenant, id))
			return id
		}},
		{"cancelled while running", Cancelled, func(f fixture) uuid.UUID {
			id := f.told("chat")
			f.claimOne("w")
			must[Job](f)(f.Cancel(f.Context(), DefaultTenant, id))
			return id
		}},
		{"max_wait over while queued", Failed, func(f fixture) uuid.UUID {
			id := f.told("patient")
			f.exec(`update ready set expires_at = now() - interval '1 second'`)
			must[int](f)(f.Expire(f.Context()))
			return id
		}},
		{"max_wait over while delayed", Failed, func(f fixture) uuid.UUID {
			id := f.add(NewJob{Type: "patient", Payload: prompt, CallbackURL: callback, Delay: new(time.Minute)})[0]
			f.exec(`update delayed set expires_at = now() - interval '1 second'`)
			must[int](f)(f.Expire(f.Context()))
			return id
		}},
		{"lost for the last time", Failed, func(f fixture) uuid.UUID {
			id := f.add(NewJob{Type: "chat", Payload: prompt, CallbackURL: callback, MaxAttempts: new(1)})[0]
			f.claimOne("w")
			f.exec(`delete from workers`)
			must[int](f)(f.Rescue(f.Context()))
			return id
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.join("w")
			id := way.end(f)
			f.wantState(id, way.want)
			f.wantOwed(id, "job."+string(way.want)+" "+callback)
			if !f.look(f.join("v")).Owed {
				t.Error("a look does not see that a delivery is due")
			}
		})
	}
}

// What a delivery tells is the job as it ended, whatever became of it later.
func TestADeliveryKeepsTheJobAsItEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.join("w")
	id := f.told("chat")
	j := f.claimOne("w")
	f.end("w", End{JobID: id, Lease: j.Lease, Outcome: Rejected, Charged: true, State: Failed, Error: "no"})
	ended := f.get(id)
	must[Job](f)(f.Retry(t.Context(), DefaultTenant, id))
	var kept map[string]any
	if err := json.Unmarshal([]byte(one[string](f, `select job::text from webhook_deliveries`)), &kept); err != nil {
		t.Fatal(err)
	}
	finished, err := time.Parse(time.RFC3339Nano, kept["finished_at"].(string))
	if err != nil || !finished.Equal(*ended.FinishedAt) {
		t.Errorf("finished at %v, %v; want %v", finished, err, ended.FinishedAt)
	}
	if kept["id"] != id.String() || kept["state"] != "failed" || kept["attempts"] != 1.0 || kept["last_error"] != "no" || kept["worker"] != nil {
		t.Errorf("kept %v", kept)
	}
	for _, large := range []string{"payload", "result"} {
		if _, there := kept[large]; there {
			t.Errorf("%s is kept twice", large)
		}
	}
}

// A job that is retried by hand and ends again is told of again; one that goes on is not told of.
func TestARetryByHandOwesAnotherDelivery(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.join("w")
	id := f.told("chat")
	must[Job](f)(f.Cancel(t.Context(), DefaultTenant, id))
	must[Job](f)(f.Retry(t.Context(), DefaultTenant, id))
	j := f.claimOne("w")
	f.end("w", End{JobID: id, Lease: j.Lease, Outcome: Error, Charged: true, State: Queued, Error: "again"})
	f.wantOwed(id, "job.cancelled "+callback)
	j = f.claimOne("w")
	f.end("w", ok(j))
	f.end("w", ok(j)) // a repetition after a lost reply
	f.wantOwed(id, "job.cancelled "+callback, "job.done "+callback)
}

func TestTheJobsURLGoesBeforeItsTenantsEndpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.join("w")
	const endpoint = "https://acme.example/hook"
	f.exec(`insert into webhook_endpoints (tenant, url, version) values ('acme', $1, 0)`, endpoint)
	ids := f.add(
		NewJob{Tenant: "acme", Type: "chat", Payload: prompt},
		NewJob{Tenant: "acme", Type: "chat", Payload: prompt, CallbackURL: callback},
		NewJob{Type: "chat", Payload: prompt},
	)
	var ends []End
	for _, j := range f.claim("w", 3) {
		ends = append(ends, ok(j))
	}
	f.end("w", ends...)
	f.wantOwed(ids[0], "job.done "+endpoint)
	f.wantOwed(ids[1], "job.done "+callback)
	f.wantOwed(ids[2])
}

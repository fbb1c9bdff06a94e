package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/queue"
)

func TestPagesHoldEveryJobOnce(t *testing.T) {
	t.Parallel()
	s := open(t)
	var want []uuid.UUID
	for i := range 7 {
		kind := [...]string{"diary.entry", "kb.ingest"}[i%2]
		want = append([]uuid.UUID{s.enqueue(fmt.Sprintf(`{"type":%q,"payload":{"input":"x"}}`, kind)).ID}, want...)
	}
	var got []uuid.UUID
	for path := "/api/ai/jobs?limit=3&cursor="; ; {
		page := decode[JobPage](s, s.do("GET", path, ""), http.StatusOK)
		for _, j := range page.Jobs {
			got = append(got, j.ID)
		}
		if page.NextCursor == nil {
			break
		}
		path = "/api/ai/jobs?limit=3&cursor=" + *page.NextCursor
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.enqueue(plainJob)
	ingest := s.enqueue(`{"type":"kb.ingest","payload":{"input":"x"}}`)
	decode[Job](s, s.do("POST", ingest.StatusURL+"/cancel", ""), http.StatusOK)
	s.exec(`update jobs set tenant = 'other' where id = $1`, s.enqueue(plainJob).ID)
	for query, want := range map[string]int{
		"": 2, "?state=&type=&cursor=": 2, "?state=queued": 1, "?state=cancelled": 1, "?state=done": 0,
		"?type=kb.ingest": 1, "?type=kb.ingest&state=queued": 0, "?type=no.such": 0, "?limit=200": 2,
	} {
		page := decode[JobPage](s, s.do("GET", "/api/ai/jobs"+query, ""), http.StatusOK)
		if len(page.Jobs) != want || page.NextCursor != nil {
			t.Errorf("%s: %d jobs, want %d; cursor %v", query, len(page.Jobs), want, page.NextCursor)
		}
	}
	if a := s.do("GET", "/api/ai/jobs", ""); strings.Contains(string(a.body), "payload") {
		t.Errorf("a list holds payloads: %s", a.body)
	}
}

func TestAnotherTenantsJobIsUnknown(t *testing.T) {
	t.Parallel()
	s := open(t)
	made := s.enqueue(plainJob)
	s.exec(`update jobs set tenant = 'other' where id = $1`, made.ID)
	for _, route := range []string{"GET ", "GET /attempts", "POST /cancel", "POST /retry"} {
		method, suffix, _ := strings.Cut(route, " ")
		if a := s.do(method, made.StatusURL+suffix, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", route, a.StatusCode)
		}
	}
}

func TestCancelAndRetry(t *testing.T) {
	t.Parallel()
	s := open(t)
	made := s.enqueue(plainJob)
	a := s.do("POST", made.StatusURL+"/retry", "")
	if p := s.isProblem(a); a.StatusCode != http.StatusConflict || !strings.Contains(p.Detail, "queued") {
		t.Errorf("retry of a queued job: %s", a.body)
	}
	job := decode[Job](s, s.do("POST", made.StatusURL+"/cancel", "{}"), http.StatusOK)
	if job.State != StateCancelled || job.FinishedAt == nil || job.Waiting != nil || string(job.Payload) != `{"input":"Hello"}` {
		t.Errorf("cancelled: %+v", job)
	}
	if a := s.do("POST", made.StatusURL+"/cancel", ""); a.StatusCode != http.StatusConflict {
		t.Errorf("a second cancel: %s", a.body)
	}
	job = decode[Job](s, s.do("POST", made.StatusURL+"/retry", ""), http.StatusOK)
	if job.State != StateQueued || job.Waiting == nil || job.FinishedAt != nil {
		t.Errorf("retried: %+v", job)
	}
}

// Workers are told of a job that is retried, and whoever watches, here and elsewhere, of each change.
func TestChangesByHandAreTold(t *testing.T) {
	t.Parallel()
	s := open(t)
	here := s.unseeing()
	made := here.enqueue(plainJob)
	conn, err := s.pool.Acquire(t.Context())
	must(t, err)
	defer conn.Release()
	hears := func(channels ...string) bool {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience/10)
		defer cancel()
		for heard := map[string]bool{}; len(heard) < len(channels); {
			n, err := conn.Conn().WaitForNotification(ctx)
			if ctx.Err() != nil {
				return false
			}
			must(t, err)
			if heard[n.Channel] = true; !slices.Contains(channels, n.Channel) {
				t.Errorf("%s was rung", n.Channel)
			}
		}
		return true
	}
	change := func(verb string) {
		t.Helper()
		decode[Job](s, s.do("POST", made.StatusURL+"/"+verb, ""), http.StatusOK)
	}
	told := func(verb, undo string, channels ...string) {
		t.Helper()
		for range 10 {
			change(verb)
			if hears(channels...) {
				return
			}
			change(undo) // a machine that is too busy to notify in time does not
		}
		t.Errorf("nobody is told of the %s", verb)
	}
	_, err = conn.Exec(t.Context(), "listen "+queue.StateChannel)
	must(t, err)
	told("cancel", "retry", queue.StateChannel)
	_, err = conn.Exec(t.Context(), "listen "+queue.ReadyChannel)
	must(t, err)
	told("retry", "cancel", queue.StateChannel, queue.ReadyChannel)
	decode[Job](here, here.do("POST", made.StatusURL+"/cancel", ""), http.StatusOK)
	if len(here.server.hub.rung) != 1 {
		t.Error("the hub is not told")
	}
}

// Somebody else changes the job whenever the cancel has looked where it is: the client is told to try again.
func TestCancelOfAJobThatKeepsChanging(t *testing.T) {
	t.Parallel()
	s := open(t)
	made := s.enqueue(plainJob)
	_, err := s.pool.Exec(t.Context(), `
		create function move() returns trigger language plpgsql as $$ begin
			update jobs set seq = seq + 1 where id = old.job_id;
			return null;
		end $$;
		create trigger move after delete on ready for each row execute function move()`)
	must(t, err)
	a := s.do("POST", made.StatusURL+"/cancel", "")
	if p := s.isProblem(a); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(p.Detail, "try again") {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
	if job := decode[Job](s, s.do("GET", made.StatusURL, ""), http.StatusOK); job.State != StateQueued {
		t.Errorf("the job is %s", job.State)
	}
	_, err = s.pool.Exec(t.Context(), `drop trigger move on ready`)
	must(t, err)
	decode[Job](s, s.do("POST", made.StatusURL+"/cancel", ""), http.StatusOK)
}

// One job as a worker would leave it.
func TestDoneJobAndItsAttempts(t *testing.T) {
	t.Parallel()
	s := open(t)
	made := s.enqueue(plainJob)
	if got := decode[AttemptList](s, s.do("GET", made.StatusURL+"/attempts", ""), http.StatusOK); len(got.Attempts) != 0 {
		t.Errorf("attempts of a new job: %+v", got)
	}
	const result = `{"output_text": "Hi <there>", "usage": {"input_tokens":3,"output_tokens":4}, "response": {"b":1, "a":1e2}, "more":[]}`
	s.exec(`delete from ready where job_id = $1`, made.ID)
	s.exec(`update jobs set state = 'done', attempts = 1, lease = 3, started_at = now(), finished_at = now(), result = $2 where id = $1`, made.ID, result)
	s.exec(`insert into attempts (job_id, number, worker, upstream, outcome, charged, status, error, retry_after_ms, request_id, input_tokens, output_tokens, finished_at)
		values ($1, 3, 'w', 'openai:gpt-5', 'cancelled', false, null, null, null, null, 5, null, now()),
		       ($1, 2, 'w', 'openai:gpt-5', 'ok', true, 200, null, null, 'req_2', 3, 4, now()),
		       ($1, 1, 'w', 'openai:gpt-5', 'rate_limited', false, 429, 'slow', 1500, 'req_1', null, null, now())`, made.ID)
	a := s.do("GET", made.StatusURL, "")
	job := decode[Job](s, a, http.StatusOK)
	if !strings.Contains(string(a.body), `"result":`+result+`,`) || job.Waiting != nil || job.State != StateDone {
		t.Errorf("got %s", a.body)
	}
	attempts := decode[AttemptList](s, s.do("GET", made.StatusURL+"/attempts", ""), http.StatusOK).Attempts
	if len(attempts) != 3 {
		t.Fatalf("got %+v", attempts)
	}
	if third := attempts[2]; third.Number != 3 || third.Usage == nil || *third.Usage.InputTokens != 5 || third.Usage.OutputTokens != nil {
		t.Errorf("third, of which half is known: %+v", third)
	}
	first, second := attempts[0], attempts[1]
	if first.Number != 1 || *first.Outcome != "rate_limited" || *first.Status != 429 || *first.RetryAfterMs != 1500 || first.Usage != nil || first.Charged {
		t.Errorf("first: %+v", first)
	}
	if *second.Outcome != "ok" || *second.Usage.InputTokens != 3 || *second.Usage.OutputTokens != 4 || second.Error != nil || *second.RequestID != "req_2" || !second.Charged {
		t.Errorf("second: %+v", second)
	}
	for _, at := range []time.Time{first.StartedAt, job.CreatedAt} {
		if at.Location() != time.UTC {
			t.Errorf("a time in %v", at.Location())
		}
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11")
	if got, ok := readCursor(cursor(id)); !ok || got != id {
		t.Errorf("got %v, %v", got, ok)
	}
	unversioned := base64.RawURLEncoding.EncodeToString(append([]byte{0}, id[:]...))
	for _, bad := range []string{"", "AQ", unversioned, cursor(uuid.Nil), cursor(id) + "A", cursor(id)[1:], strings.ToLower(cursor(id)) + "=", strings.TrimSuffix(cursor(id), "E") + "F"} {
		if _, ok := readCursor(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if len(cursor(id)) > 64 {
		t.Errorf("a cursor of %d characters is more than openapi.yaml allows", len(cursor(id)))
	}
}

// Every reason that a job of the queue itself can show, over HTTP.
func TestWaitingOverHTTP(t *testing.T) {
	t.Parallel()
	s := open(t)
	first, second := s.enqueue(plainJob), s.enqueue(plainJob)
	if w := second.Waiting; w.Reason != WaitingReasonNoWorker || *w.Position != 2 || w.Until != nil || w.EtaSeconds != nil {
		t.Errorf("without a worker: %+v", w)
	}
	s.exec(`insert into workers (id, types, concurrency) values ('w', '{diary.entry}', 1)`)
	s.server.served.forget(task{"diary.entry", "openai:gpt-5"})
	if w := s.waitingOf(first); w.Reason != WaitingReasonQueue || *w.Position != 1 || w.Until != nil {
		t.Errorf("in line: %+v", w)
	}
	decode[Upstream](s, s.do("POST", "/api/ai/upstreams/openai%3Agpt-5/pause", ""), http.StatusOK)
	if w := s.waitingOf(first); w.Reason != WaitingReasonPaused || *w.Position != 1 {
		t.Errorf("paused: %+v", w)
	}
	delayed := s.enqueue(`{"type":"diary.entry","payload":{"input":"x"},"delay_ms":600000}`)
	if w := delayed.Waiting; w.Reason != WaitingReasonScheduled || w.Position != nil || *w.EtaSeconds < 500 || *w.EtaSeconds > 610 { // the clock is read from a copy
		t.Errorf("scheduled: %+v", w)
	}
	s.exec(`update jobs set lease = 1 where id = $1`, delayed.ID)
	s.exec(`insert into attempts (job_id, number, worker, outcome, finished_at) values ($1, 1, 'w', 'rate_limited', now())`, delayed.ID)
	if w := s.waitingOf(delayed); w.Reason != WaitingReasonRateLimit || w.Until == nil {
		t.Errorf("rate limited: %+v", w)
	}
}

// A type whose model was changed is served, but not the line of the jobs that wait with the old one.
func TestAJobWhoseLineNobodyServesIsNotNextInLine(t *testing.T) {
	t.Parallel()
	s := open(t)
	must(t, s.queue.Join(t.Context(), "w", []string{"diary.entry"}, []string{"openai:other"}, 1))
	made := s.enqueue(plainJob)
	for of, w := range map[string]*Waiting{"the answer": made.Waiting, "the job": s.waitingOf(made)} {
		if w.Reason != WaitingReasonNoWorker || !strings.Contains(w.Sentence, "openai/gpt-5") {
			t.Errorf("%s: %+v", of, w)
		}
	}
	must(t, s.queue.Join(t.Context(), "v", []string{"diary.entry"}, []string{"openai:gpt-5"}, 1))
	s.server.served.forget(task{"diary.entry", "openai:gpt-5"})
	if w := s.waitingOf(made); w.Reason != WaitingReasonQueue {
		t.Errorf("served: %+v", w)
	}
}

func (s *site) waitingOf(made EnqueueResponse) *Waiting {
	s.t.Helper()
	job := decode[Job](s, s.do("GET", made.StatusURL, ""), http.StatusOK)
	if job.Waiting == nil {
		s.t.Fatalf("%s does not wait", job.State)
	}
	return job.Waiting
}

func TestDescribingFailsNoEnqueue(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.exec(`insert into upstreams (name) values ('x')`)
	_, err := s.pool.Exec(t.Context(), `alter table upstreams rename to gone`)
	must(t, err)
	s.server.fleet.forget(everybody)
	if made := s.enqueue(plainJob); made.Waiting != nil {
		t.Errorf("got %+v", made.Waiting)
	}
	if n := s.jobs(); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
}

func TestListsTellWhyJobsWaitWhenAsked(t *testing.T) {
	t.Parallel()
	s := open(t)
	first, second := s.enqueue(plainJob), s.enqueue(plainJob)
	later := s.enqueue(`{"type":"diary.entry","payload":{"input":"x"},"delay_ms":3600000}`)
	ended := s.enqueue(plainJob)
	decode[Job](s, s.do("POST", ended.StatusURL+"/cancel", ""), http.StatusOK)
	decode[Upstream](s, s.do("POST", "/api/ai/upstreams/openai%3Agpt-5/pause", ""), http.StatusOK)
	reasons := map[uuid.UUID]WaitingReason{}
	for _, j := range decode[JobPage](s, s.do("GET", "/api/ai/jobs?include=waiting", ""), http.StatusOK).Jobs {
		if j.Waiting != nil {
			reasons[j.ID] = j.Waiting.Reason
		}
	}
	want := map[uuid.UUID]WaitingReason{first.ID: WaitingReasonPaused, second.ID: WaitingReasonPaused, later.ID: WaitingReasonScheduled}
	if !maps.Equal(reasons, want) {
		t.Errorf("got %v, want %v", reasons, want)
	}
	if a := s.do("GET", "/api/ai/jobs", ""); strings.Contains(string(a.body), "waiting") {
		t.Errorf("nobody asked: %s", a.body)
	}
	if a := s.do("GET", "/api/ai/jobs?include=payload", ""); a.StatusCode != http.StatusBadRequest {
		t.Errorf("include=payload: %d", a.StatusCode)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	s := open(t)
	types := decode[TypeList](s, s.do("GET", "/api/ai/types", ""), http.StatusOK).Types
	if len(types) != 3 || types[0].Name != "autopoietic.tick" || *types[0].Upstream != upstreamName || *types[0].Model != "gpt-5" ||
		types[0].Priority != 9 || types[0].MaxAttempts != 3 || types[0].Custom {
		t.Errorf("%+v", types)
	}
}

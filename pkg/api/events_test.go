package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
)

// works registers a worker, who has to claim by hand.
func (s *site) works() {
	s.t.Helper()
	must(s.t, s.queue.Join(s.t.Context(), "w", []string{"diary.entry"}, nil, 10))
	s.exec(`update upstreams set heard_at = now()`)
}

func (s *site) claim() queue.Claimed {
	s.t.Helper()
	jobs, err := s.queue.Claim(s.t.Context(), queue.Claim{ID: uuid.New(), Worker: "w", Line: upstreamName, Types: []string{"diary.entry"},
		Timeouts: []time.Duration{time.Minute}, Limit: 1, Gate: queue.Gate{Upstream: upstreamName}})
	must(s.t, err)
	if len(jobs) != 1 {
		s.t.Fatalf("claimed %d jobs", len(jobs))
	}
	return jobs[0]
}

func (s *site) done(job queue.Claimed) {
	s.t.Helper()
	s.ended(queue.End{JobID: job.ID, Lease: job.Lease, Outcome: queue.OK, Charged: true, State: queue.Done,
		Result: json.RawMessage("{\"output_text\":\"a\\nb\",\"usage\":{\"input_tokens\":1,\n\"output_tokens\":2},\"response\":{\"id\":\"resp_1\"}}")})
}

func (s *site) ended(e queue.End) {
	s.t.Helper()
	held, err := s.queue.End(s.t.Context(), "w", e)
	must(s.t, err)
	if len(held) != 1 {
		s.t.Fatal("the job is not held")
	}
}

// From queued to done each state is told once, with all that GET tells but what is large; then the stream ends.
func TestEventsOfAJob(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.works()
	made := s.enqueue(plainJob)
	stream := s.stream(made.EventsURL)
	if h := stream.Header; stream.StatusCode != http.StatusOK || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-cache" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("%d %v", stream.StatusCode, h)
	}
	if begin, err := stream.block(); err != nil || len(begin) != 1 || !strings.HasPrefix(begin[0], "retry: ") {
		t.Errorf("it begins with %q, %v", begin, err)
	}
	queued, _ := stream.state()
	if queued.State != StateQueued || queued.ID != made.ID || queued.Waiting == nil || queued.Waiting.Reason != WaitingReasonQueue || *queued.Waiting.Position != 1 {
		t.Errorf("queued: %+v", queued)
	}
	job := s.claim()
	running, _ := stream.state()
	if running.State != StateRunning || running.Waiting != nil || *running.Worker != "w" {
		t.Errorf("running: %+v", running)
	}
	s.ended(queue.End{JobID: job.ID, Lease: job.Lease, Outcome: queue.RateLimited, State: queue.Delayed, Delay: time.Hour, Status: 429, Error: "slow down"})
	delayed, _ := stream.state()
	if delayed.State != StateDelayed || delayed.Waiting == nil || delayed.Waiting.Reason != WaitingReasonRateLimit || *delayed.LastError != "slow down" {
		t.Errorf("delayed: %+v", delayed)
	}
	tx, err := s.pool.Begin(t.Context()) // in which it is due, for no look to see it so
	must(t, err)
	_, err = tx.Exec(t.Context(), `with due as (update delayed set due_at = now() - interval '1 s' returning due_at) update jobs set scheduled_at = due.due_at from due`)
	must(t, err)
	_, err = s.queue.With(tx).Promote(t.Context())
	must(t, err)
	must(t, tx.Commit(t.Context()))
	if again, _ := stream.state(); again.State != StateQueued {
		t.Errorf("promoted: %+v", again)
	}
	s.done(s.claim())
	last, id := stream.state()
	if last.State == StateRunning { // a look came between claim and end
		last, id = stream.state()
	}
	if want := `{"output_text":"a\nb","usage":{"input_tokens":1,"output_tokens":2}}`; last.State != StateDone || string(*last.Result) != want || last.FinishedAt == nil {
		t.Errorf("done: %+v, %s; want %s", last, *last.Result, want)
	}
	stream.ends()

	// Whoever has seen the end is told not to come back; anybody else sees it, and no more.
	if a := s.do("GET", made.EventsURL, "", "Last-Event-ID", id); a.StatusCode != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("seen to its end: %d %s", a.StatusCode, a.body)
	}
	for _, seen := range []string{"", "older"} {
		stream := s.stream(made.EventsURL, "Last-Event-ID", seen)
		if got, at := stream.state(); got.State != StateDone || at != id {
			t.Errorf("after %q: %+v", seen, got)
		}
		stream.ends()
	}
}

// A client that comes back gets nothing that it has seen, and then what is new, also from another process.
func TestEventsAreResumed(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.works()
	made := s.enqueue(plainJob)
	first := s.stream(made.EventsURL)
	_, id := first.state()
	first.Body.Close()
	other := openOn(t, s.pool)
	other.server.ofStreams.heartbeat = 20 * time.Millisecond
	back := other.stream(made.EventsURL, "Last-Event-ID", id)
	for range 3 { // the begin, and signs of life
		if lines, err := back.block(); err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "retry: ") && lines[0] != ":" {
			t.Fatalf("what was seen comes again: %q, %v", lines, err)
		}
	}
	s.claim()
	if got, at := back.state(); got.State != StateRunning || at == id {
		t.Errorf("after a claim: %+v", got)
	}
}

// Why a job waits is news too: its upstream's breaker, and its place in line.
func TestEventsTellWhyAJobWaits(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.works()
	s.enqueue(plainJob)
	second := s.enqueue(plainJob)
	stream := s.stream(second.EventsURL)
	if got, _ := stream.state(); *got.Waiting.Position != 2 {
		t.Errorf("second: %+v", got.Waiting)
	}
	s.claim()
	if got, _ := stream.state(); *got.Waiting.Position != 1 || got.State != StateQueued {
		t.Errorf("next: %+v", got.Waiting)
	}
	s.do("POST", "/api/ai/upstreams/openai%3Agpt-5/pause", "")
	if got, _ := stream.state(); got.Waiting.Reason != WaitingReasonPaused {
		t.Errorf("paused: %+v", got.Waiting)
	}
	decode[Job](s, s.do("POST", second.StatusURL+"/cancel", ""), http.StatusOK)
	if got, _ := stream.state(); got.State != StateCancelled || got.Waiting != nil {
		t.Errorf("cancelled: %+v", got)
	}
	stream.ends()
}

func TestEventsOfNoJob(t *testing.T) {
	t.Parallel()
	s := strangers(t)
	hers := decode[EnqueueResponse](s, s.as(alice, "POST", "/api/ai/enqueue", plainJob), http.StatusAccepted)
	stream := s.stream(hers.EventsURL, "X-Tenant", alice)
	stream.state()
	for _, path := range []string{hers.EventsURL, jobPath(uuid.New()) + "/events"} { // hers is watched already
		if a := s.as(bob, "GET", path, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	s.exec(`delete from ready`)
	s.exec(`delete from jobs`)
	stream.ends() // and whoever comes back gets 404
	if a := s.as(alice, "GET", hers.EventsURL, ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("deleted: %d", a.StatusCode)
	}
}

// The status is told when something has changed. That time passes is no change.
func TestEventsOfTheStatus(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.ofStreams.heartbeat = 4 * watchAge })
	s.enqueue(plainJob)
	stream := s.stream("/api/ai/status/events")
	if h := stream.Header; h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-cache" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("%v", h)
	}
	e, _ := stream.next()
	first := readEvent[Status](t, "Status", e)
	if e.name != "status" || first.Queue.Queued != 1 || len(first.Upstreams) != 1 {
		t.Errorf("first: %+v", e)
	}
	if lines, err := stream.block(); err != nil || lines[0] != ":" { // although the queued job is older by some looks
		t.Errorf("without a change: %q, %v", lines, err)
	}
	back := s.stream("/api/ai/status/events", "Last-Event-ID", e.id)
	s.enqueue(plainJob)
	for _, stream := range []*openStream{stream, back} {
		e, _ := stream.next()
		if got := readEvent[Status](t, "Status", e); got.Queue.Queued != 2 {
			t.Errorf("after an enqueue: %+v", got.Queue)
		}
	}
}

// left waits until no stream is open and nobody watches.
func (s *site) left() {
	s.t.Helper()
	s.until("everybody has left", func() bool { return s.server.streams.inside.Load() == 0 && !s.server.hub.watched() })
}

func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain: %s", what)
		}
	}
}

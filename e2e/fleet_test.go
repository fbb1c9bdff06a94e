package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// 300 jobs of three types through HTTP, four worker processes, a provider that fails 5 % of its calls: every job is done,
// and the attempts in SQL are the calls that the provider counted, one to one by X-Client-Request-Id. With the three
// tries that a tick has by itself, one run in eighty would see all of one job's fail; with ten, one in a billion.
func TestEveryCallIsAnAttemptAndEveryJobIsDone(t *testing.T) {
	t.Parallel()
	s := start(t, llmtest.WithScript(llmtest.Script{ErrorRate: 0.05, LatencyMS: 5, JitterMS: 20}))
	types := []string{"kb.ingest", "diary.entry", "autopoietic.tick"}
	for range 4 {
		s.worker("SLUICE_CONCURRENCY=10")
	}
	const jobs, clients = 300, 10
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range jobs / clients {
				var made struct{ ID string }
				res, err := s.do("POST", "/api/ai/enqueue", map[string]any{
					"type": types[i%len(types)], "payload": map[string]any{"input": fmt.Sprintf("client %d, job %d", c, i)},
					"max_attempts": 10,
				}, &made)
				if err != nil || res.StatusCode != http.StatusAccepted {
					t.Errorf("enqueue: %v, %v", res, err)
				}
			}
		})
	}
	wg.Wait()
	s.untilDone(jobs)
	if err := s.sim.AwaitIdle(t.Context()); err != nil { // a result may be stored before the provider knows that it was read
		t.Fatal(err)
	}

	calls := map[string]llmtest.Call{}
	for _, c := range s.sim.Calls() {
		if _, twice := calls[c.ID]; twice {
			t.Errorf("two calls are named %s", c.ID)
		}
		calls[c.ID] = c
	}
	rows, err := s.db.Query(t.Context(), `select job_id || '/' || number, outcome, coalesce(status, 0) from attempts`)
	if err != nil {
		t.Fatal(err)
	}
	attempts, failed := 0, 0
	var unmatched []string
	for rows.Next() {
		var id, outcome string
		var status int
		if err := rows.Scan(&id, &outcome, &status); err != nil {
			t.Fatal(err)
		}
		attempts++
		call, ok := calls[id]
		if !ok || call.Status != status || (outcome == "ok") != (status == http.StatusOK && call.Delivered) {
			unmatched = append(unmatched, fmt.Sprintf("%s (%s, %d)", id, outcome, status))
		}
		if outcome != "ok" {
			failed++
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if len(unmatched) > 0 || attempts != len(calls) {
		t.Errorf("%d attempts, %d calls; without their like: %s", attempts, len(calls), spell(unmatched))
	}
	if failed == 0 {
		t.Error("the provider failed nothing: this showed less than it should")
	}
	if n := s.count(`select count(*) from attempts where outcome = 'ok'`); n != jobs {
		t.Errorf("%d ok attempts for %d jobs", n, jobs)
	}
	t.Logf("%d jobs, %d attempts, %d calls, %d failed", jobs, attempts, len(calls), failed)
}

func TestJobsOfAKilledWorkerAreDoneByOthers(t *testing.T) {
	t.Parallel()
	s := start(t)
	victim := s.worker("SLUICE_DEATH_AFTER=4s")
	s.enqueue("diary.entry", "warm up")
	s.untilDone(1)
	s.sim.Hold()
	for i := range 5 {
		s.enqueue("diary.entry", fmt.Sprint("job ", i))
	}
	if err := s.sim.AwaitHeld(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	s.worker("SLUICE_DEATH_AFTER=4s")
	victim.kill()
	killed := time.Now()
	s.sim.Release()
	s.untilDone(6)
	var found time.Time
	if err := s.db.QueryRow(t.Context(), `select max(started_at) from attempts where number = 2`).Scan(&found); err != nil {
		t.Fatal(err)
	}
	t.Logf("with SLUICE_DEATH_AFTER=4s the last of its jobs ran elsewhere after %v", found.Sub(killed).Round(time.Millisecond))
	if n := s.count(`select count(*) from attempts where outcome = 'lost' and charged`); n != 5 {
		t.Errorf("%d lost attempts, want 5", n)
	}
	if n := s.count(`select count(*) from attempts where outcome = 'ok' and number = 2`); n != 5 {
		t.Errorf("%d jobs done at their second try, want 5", n)
	}
}

// No credit for a while: the fleet makes a handful of calls, no job fails or is charged, and all is done afterwards.
func TestOutOfCreditFailsNothing(t *testing.T) {
	t.Parallel()
	s := start(t, llmtest.WithScript(llmtest.Script{Mode: "out_of_credit"}))
	for range 4 {
		s.worker("SLUICE_HOLD_PROBE_INTERVAL=2s")
	}
	for i := range 60 {
		s.enqueue("kb.ingest", fmt.Sprint("job ", i))
	}
	if err := s.sim.AwaitCalls(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	var status struct {
		Upstreams []struct {
			Name    string
			Breaker struct{ State, Reason string }
		}
	}
	if _, err := s.do("GET", "/api/ai/status", nil, &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Upstreams) != 1 || status.Upstreams[0].Breaker.Reason != "account" {
		t.Errorf("status: %+v", status)
	}
	calls, opened := s.sim.Count(), s.count(`select count(*) from breaker_events where to_state = 'open'`)
	if calls > opened+1 {
		t.Errorf("%d calls while the breaker opened %d times", calls, opened)
	}
	s.sim.SetMode("healthy")
	s.untilDone(60)
	if n := s.count(`select count(*) from jobs where attempts <> 1`); n != 0 {
		t.Errorf("%d jobs were charged for what the account did", n)
	}
}

func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	s := start(t)
	w := s.worker()
	s.enqueue("diary.entry", "warm up")
	s.untilDone(1)
	s.sim.HoldMidway()
	for i := range 5 {
		s.enqueue("diary.entry", fmt.Sprint("job ", i))
	}
	if err := s.sim.AwaitHeld(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.terminate() }()
	s.sim.Release()
	if err := <-ended; err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	if n := s.count(`select count(*) from jobs where state = 'done'`); n != 6 {
		t.Errorf("%d jobs done, want all 6 that had started", n)
	}
	if n := s.count(`select (select count(*) from workers) + (select count(*) from claims)`); n != 0 {
		t.Errorf("%d rows of a worker that is gone", n)
	}
}

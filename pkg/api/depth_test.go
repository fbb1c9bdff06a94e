package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
)

// capped is a site where so many jobs of a tenant may wait, and whose tenant is the request's X-Tenant.
func capped(t testing.TB, most int) *site {
	t.Helper()
	return openWith(t, pgtest.New(t), func(s *Server) { s.depth.most, s.tenant = int64(most), namedTenant })
}

// namedTenant stands for authentication.
func namedTenant(c echo.Context) string {
	if name := c.Request().Header.Get("X-Tenant"); name != "" {
		return name
	}
	return queue.DefaultTenant
}

// full makes sure that an answer refuses for the cap.
func (s *site) full(a answer) {
	s.t.Helper()
	if p := s.isProblem(a); a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "5" || p.Type != "urn:sluice:problem:queue_full" {
		s.t.Errorf("status %d, Retry-After %q: %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
	}
}

func TestDepthCap(t *testing.T) {
	t.Parallel()
	s := capped(t, 5)
	keyed := func(key string) string {
		return `{"type":"diary.entry","payload":{"input":"x"},"idempotency_key":"` + key + `"}`
	}
	const batch = "/api/ai/enqueue/batch"
	first := s.enqueue(plainJob, keyHeader, "first")
	s.enqueue(`{"type":"diary.entry","payload":{"input":"x"},"delay_ms":60000}`) // who is delayed waits too
	s.full(s.do("POST", batch, "["+plainJob+","+plainJob+","+plainJob+","+plainJob+"]"))
	if n := s.jobs(); n != 2 {
		t.Fatalf("%d jobs: a batch over the cap was stored in part", n)
	}
	made := s.batch("["+keyed("a")+","+keyed("b")+","+keyed("a")+","+plainJob+"]", "application/json") // three jobs, as many as fit
	if made[0] != made[2] || s.jobs() != 5 {
		t.Fatalf("%v, %d jobs", made, s.jobs())
	}

	s.full(s.do("POST", "/api/ai/enqueue", plainJob))
	s.full(s.do("POST", "/api/ai/enqueue", plainJob, keyHeader, "new"))
	s.full(s.do("POST", batch, "["+keyed("a")+","+keyed("c")+"]"))
	if a := s.do("POST", batch, "["+strings.Repeat(plainJob+",", 5)+plainJob+"]"); !strings.Contains(string(a.body), "send fewer") {
		t.Errorf("a batch that never fits: %s", a.body)
	}
	a := s.do("POST", "/api/ai/enqueue", plainJob, keyHeader, "first")
	if again := decode[EnqueueResponse](s, a, http.StatusAccepted); again.ID != first.ID || a.Header.Get(replayedHeader) != "true" {
		t.Errorf("a replay at the cap: %s", a.body)
	}
	if again := s.batch("["+keyed("b")+","+keyed("a")+"]", "application/json"); again[0] != made[1] || again[1] != made[0] {
		t.Errorf("a batch of replays at the cap: %v", again)
	}
	for body, want := range map[string]int{`{"type":"no.such","payload":{"input":"x"}}`: 400, `{"type":"kb.ingest","payload":{"input":"x"}}`: 422} {
		if a := s.do("POST", "/api/ai/enqueue", body, keyHeader, "first"); a.StatusCode != want {
			t.Errorf("%s at the cap: status %d, want %d", body, a.StatusCode, want)
		}
	}

	s.enqueue(plainJob, "X-Tenant", "other")
	s.enqueue(plainJob, "X-Tenant", "other", keyHeader, "first")
	if n := s.jobs(); n != 7 {
		t.Errorf("%d jobs are stored, want 7", n)
	}
}

// Room is there again as soon as a job has ended or started, and no job that was accepted is missing.
func TestDepthCapFrees(t *testing.T) {
	t.Parallel()
	s := capped(t, 2)
	first := s.enqueue(plainJob)
	s.enqueue(plainJob)
	s.full(s.do("POST", "/api/ai/enqueue", plainJob))
	decode[Job](s, s.do("POST", first.StatusURL+"/cancel", ""), http.StatusOK)
	s.until("the room of a cancelled job comes back", func() bool { // nothing tells when the next count is due
		a := s.do("POST", "/api/ai/enqueue", plainJob)
		if a.StatusCode != http.StatusAccepted {
			s.full(a)
		}
		return a.StatusCode == http.StatusAccepted
	})
	if n := s.jobs(); n != 3 {
		t.Errorf("%d jobs, want 3", n)
	}
}

// Many clients at the same moment never go over the cap of their process, and everyone who was answered 202 is stored.
func TestDepthCapHoldsInACrowd(t *testing.T) {
	t.Parallel()
	s := capped(t, 30)
	var taken atomic.Int64
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			for j := range 5 {
				body, jobs := plainJob, int64(1)
				path := "/api/ai/enqueue"
				if j%2 == 0 {
					body, jobs, path = "["+plainJob+","+plainJob+"]", 2, "/api/ai/enqueue/batch"
				}
				switch a := s.do("POST", path, body, "X-Request-Id", fmt.Sprint(i)); a.StatusCode {
				case http.StatusAccepted:
					taken.Add(jobs)
				default:
					s.full(a)
				}
			}
		})
	}
	clients.Wait()
	if n := int64(s.jobs()); n != taken.Load() || n < 29 || n > 30 {
		t.Errorf("%d jobs are stored, %d were accepted, 30 may wait", n, taken.Load())
	}
}

// What was stored before a count began is in it; what came later, or is under way, stands beside it. By the bubble's clock.
func TestDepthIsCountedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counted, reads := int64(0), 0
		d := newDepth(10, func(context.Context) (map[string]int64, error) {
			reads++
			return map[string]int64{"a": counted}, nil
		})
		admit := func(n int) bool {
			t.Helper()
			fits, err := d.admit(t.Context(), "a", n)
			must(t, err)
			return fits
		}
		if !admit(6) || admit(5) || !admit(4) || admit(1) || !admit(0) {
			t.Error("what is under way is not counted")
		}
		d.settle("a", 6, 6)
		d.settle("a", 4, 0)
		if reads != 1 || !admit(4) {
			t.Errorf("%d reads; what was not stored still takes room", reads)
		}
		d.settle("a", 4, 4)
		time.Sleep(recountAge) // by the bubble's clock
		counted = 7            // ten were stored, three have started
		if !admit(3) || admit(1) || reads != 2 {
			t.Errorf("after the second of %d reads", reads)
		}
		if len(d.stored) != 0 {
			t.Errorf("what the count has seen is kept: %v", d.stored)
		}
		d.settle("a", 3, 0)
		if len(d.pending) != 0 {
			t.Errorf("nothing is under way: %v", d.pending)
		}
	})
}

// A process that cannot count refuses for that, and does not forget what is under way.
func TestDepthCannotBeCounted(t *testing.T) {
	t.Parallel()
	s := capped(t, 5)
	_, err := s.pool.Exec(t.Context(), `alter table delayed rename to gone`)
	must(t, err)
	if a := s.do("POST", "/api/ai/enqueue", plainJob); a.StatusCode != http.StatusInternalServerError || s.jobs() != 0 {
		t.Errorf("status %d, %d jobs", a.StatusCode, s.jobs())
	}
	if len(s.server.depth.pending) != 0 {
		t.Error("a refused request keeps its room")
	}
}

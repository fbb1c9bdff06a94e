package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/quota"
	"github.com/sluicedev/sluice/pkg/upstream"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	s := open(t)
	empty := decode[Status](s, s.do("GET", "/api/ai/status", ""), http.StatusOK)
	if empty.Queue != (QueueCounts{}) || len(empty.Upstreams) != 1 || empty.Upstreams[0].Breaker.State != BreakerStateClosed || empty.Upstreams[0].Breaker.Reason != nil {
		t.Errorf("empty: %+v", empty)
	}
	s.enqueue(plainJob)
	s.enqueue(`{"type":"diary.entry","payload":{"input":"x"},"delay_ms":60000}`)
	s.exec(`update jobs set tenant = 'other' where id = $1`, s.enqueue(plainJob).ID)
	s.exec(`update ready set tenant = 'other' where job_id = (select id from jobs where tenant = 'other')`)
	headers := &quota.Observation{Readings: [quota.Dimensions]quota.Reading{{Limit: 500, Remaining: 400, Reset: 12 * time.Second}}}
	_, _, err := s.server.upstreams.Visit(t.Context(), upstreamName, "test", upstream.Visit{Seen: headers})
	must(t, err)
	s.server.counts.forget("default")
	s.server.fleet.forget(everybody)
	got := decode[Status](s, s.do("GET", "/api/ai/status", ""), http.StatusOK)
	if got.Queue.Queued != 1 || got.Queue.Delayed != 1 || got.Queue.OldestQueuedSeconds <= 0 {
		t.Errorf("counts: %+v", got.Queue)
	}
	up := got.Upstreams[0]
	if up.Name != upstreamName || *up.Quota.Requests.Limit != 500 || *up.Quota.Requests.Remaining < 400 || up.Quota.Requests.ResetsAt == nil || up.Quota.Tokens.Limit != nil {
		t.Errorf("upstream: %+v", up)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := open(t)
	const path = "/api/ai/upstreams/openai%3Agpt-5/"
	paused := decode[Upstream](s, s.do("POST", path+"pause", ""), http.StatusOK)
	if paused.Breaker.State != BreakerStateOpen || *paused.Breaker.Reason != "operator" || paused.Breaker.OpenedAt == nil {
		t.Errorf("paused: %+v", paused)
	}
	seen := decode[Status](s, s.do("GET", "/api/ai/status", ""), http.StatusOK).Upstreams[0]
	if seen.Breaker.State != BreakerStateOpen {
		t.Errorf("the status does not show the pause: %+v", seen)
	}
	// The name may also come without its encoding.
	resumed := decode[Upstream](s, s.do("POST", "/api/ai/upstreams/openai:gpt-5/resume", "{}"), http.StatusOK)
	if resumed.Breaker.State == BreakerStateOpen && resumed.Breaker.Reason != nil && *resumed.Breaker.Reason == "operator" {
		t.Errorf("resumed: %+v", resumed)
	}
	var by string
	must(t, s.pool.QueryRow(t.Context(), `select by from breaker_events where to_state = 'open'`).Scan(&by))
	if by != "api 127.0.0.1" {
		t.Errorf("the audit says %q", by)
	}
}

func TestNamesWithSlashesAndSpaces(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.exec(`insert into upstreams (name) values ('router:meta/llama 3%'), ('a b')`)
	for name, path := range map[string]string{"router:meta/llama 3%": "router%3Ameta%2Fllama%203%25", "a b": "a%20b"} {
		if got := decode[Upstream](s, s.do("POST", "/api/ai/upstreams/"+path+"/pause", ""), http.StatusOK); got.Name != name {
			t.Errorf("%s: paused %q", path, got.Name)
		}
	}
}

func TestHealthShowsTheWorstBreaker(t *testing.T) {
	t.Parallel()
	s := open(t)
	a := s.do("GET", "/api/health", "")
	const fresh = `{"ok":true,"worker":{"breaker":{"failures":0,"openedAt":null,"state":"closed"},"queue":{"delayed":0,"failed":0,"queued":0,"running":0}}}`
	if string(a.body) != fresh {
		t.Errorf("got %s", a.body)
	}
	s.exec(`insert into upstreams (name, state, reason, failures, opened_at, retry_at, probe_id, probe_worker, probe_until) values
		('a:1', 'closed', null, 4, null, null, null, null, null),
		('b:1', 'open', 'failures', 2, now(), now(), null, null, null),
		('c:1', 'open', 'failures', 5, '2026-01-01 00:00:00.5Z', now(), null, null, null),
		('d:1', 'half-open', 'failures', 9, now(), now(), gen_random_uuid(), 'w', now())`)
	s.server.fleet.forget(everybody)
	got := decode[Health](s, s.do("GET", "/api/health", ""), http.StatusOK).Worker.Breaker
	if got.State != BreakerStateOpen || got.Failures != 5 || *got.OpenedAt != 1767225600500 {
		t.Errorf("got %+v", got)
	}
	s.exec(`delete from upstreams where state = 'open'`)
	s.exec(`update upstreams set failures = 3 where name = 'd:1'`)
	s.server.fleet.forget(everybody)
	if got := decode[Health](s, s.do("GET", "/api/health", ""), http.StatusOK).Worker.Breaker; got.State != BreakerStateHalfOpen {
		t.Errorf("beside one that is closed: %+v", got)
	}
	if a := s.do("GET", "/api/health?x=1", ""); a.StatusCode != http.StatusBadRequest || s.isProblem(a).Errors == nil {
		t.Errorf("what is wrong with a request is not told: %s", a.body)
	}
}

func TestProbesAndMetrics(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.enqueue(plainJob)
	s.do("GET", "/no/such/path", "")
	for _, path := range []string{"/livez", "/readyz"} {
		if got := decode[Yes](s, s.do("GET", path, ""), http.StatusOK); !got.Ok {
			t.Errorf("%s says no", path)
		}
	}
	text := string(s.do("GET", "/metrics", "").body)
	for _, line := range []string{
		`sluice_database_up 1`, `sluice_queue_depth{state="queued"} 1`, `sluice_queue_depth{state="done"} 0`,
		`sluice_runnable_backlog 1`, `sluice_breaker_state{upstream="openai:gpt-5"} 0`, `sluice_queue_oldest_age_seconds `,
		`sluice_http_requests_total{method="POST",route="/api/ai/enqueue",status="202"} 1`,
		`sluice_http_requests_total{method="none",route="none",status="404"} 1`,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
}

func TestNotReadyWithAnOldSchema(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.exec(`update sluice_db_version set is_applied = false where version_id = (select max(version_id) from sluice_db_version)`)
	if a := s.do("GET", "/readyz", ""); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "api migrate") {
		t.Errorf("got %d %s", a.StatusCode, a.body)
	}
	s.exec(`update sluice_db_version set is_applied = true`)
	s.exec(`insert into sluice_db_version (version_id, is_applied) select max(version_id) + 1, true from sluice_db_version`)
	if a := s.do("GET", "/readyz", ""); a.StatusCode != http.StatusOK { // migrations keep the previous binaries working
		t.Errorf("with a newer schema: %d %s", a.StatusCode, a.body)
	}
}

// The database answers, but not in time: requests and probes, which give up sooner, say so; and then it does.
func TestASlowDatabase(t *testing.T) {
	t.Parallel()
	for routes, limits := range map[string]workLimits{
		"/api/ai/jobs /api/ai/status": {request: 200 * time.Millisecond, probe: probeTimeout},
		"/api/health /readyz":         {request: requestTimeout, probe: 200 * time.Millisecond},
	} {
		s := openWith(t, pgtest.New(t), func(s *Server) { s.limits = limits })
		if got := newServer(t, s, "").limits; got != (workLimits{request: 30 * time.Second, probe: 3 * time.Second}) {
			t.Errorf("by default the limits are %+v", got)
		}
		release := s.lock("jobs, ready, upstreams, sluice_db_version")
		begun := time.Now()
		for path := range strings.FieldsSeq(routes) {
			a := s.do("GET", path, "")
			if p := s.isProblem(a); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(p.Detail, "try again") {
				t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
			}
		}
		if took := time.Since(begun); took > requestTimeout/2 {
			t.Errorf("%s: answered after %s", routes, took)
		}
		release()
		for path := range strings.FieldsSeq(routes) {
			s.until(path+" is answered again", func() bool { return s.do("GET", path, "").StatusCode == http.StatusOK })
		}
	}
}

// losable is a pool whose database can be taken away and brought back.
func losable(t *testing.T) (pool *pgxpool.Pool, away *atomic.Bool) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(pgtest.URL(t))
	must(t, err)
	away = &atomic.Bool{}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if away.Load() {
			network, addr = "tcp", "127.0.0.1:1" // where nobody listens
		}
		return dial(ctx, network, addr)
	}
	pool, err = pgxpool.NewWithConfig(t.Context(), cfg)
	must(t, err)
	t.Cleanup(pool.Close)
	return pool, away
}

// The database goes away under a running API, and comes back.
func TestWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	pool, away := losable(t)
	s := openOn(t, pool)
	made := s.enqueue(plainJob)

	away.Store(true)
	pool.Reset()
	s.server.fleet.forget(everybody)
	for _, route := range []string{"POST /api/ai/enqueue", "GET /api/ai/jobs", "GET " + made.StatusURL, "POST " + made.StatusURL + "/cancel", "GET /api/ai/status", "GET /api/ai/status/events", "GET " + made.EventsURL, "GET /readyz", "GET /api/health"} {
		method, path, _ := strings.Cut(route, " ")
		body := ""
		if path == "/api/ai/enqueue" {
			body = plainJob
		}
		a := s.do(method, path, body)
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", route, a.StatusCode, a.body)
		}
		if strings.Contains(string(a.body), "127.0.0.1") {
			t.Errorf("%s: tells about insides: %s", route, a.body)
		}
		var health map[string]any
		if must(t, json.Unmarshal(a.body, &health)); path == "/api/health" && health["ok"] != false {
			t.Errorf("health: %s", a.body)
		}
	}
	if log := s.log.String(); !strings.Contains(log, `level=WARN msg="a request could not be served for now"`) || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log says %s", log)
	}
	decode[Yes](s, s.do("GET", "/livez", ""), http.StatusOK)
	if text := string(s.do("GET", "/metrics", "").body); !strings.Contains(text, "\nsluice_database_up 0\n") || strings.Contains(text, "sluice_queue_depth{") {
		t.Errorf("metrics: %s", text)
	}

	away.Store(false)
	if job := decode[Job](s, s.do("GET", made.StatusURL, ""), http.StatusOK); job.State != StateQueued {
		t.Errorf("got %+v", job)
	}
}

// A thousand watchers cost one query a second.
func TestWatchersShareARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		release := make(chan struct{})
		w := newWatch(func(context.Context, string) (int, error) {
			<-release
			reads++
			return reads, nil
		})
		look := func(want int) {
			var watchers sync.WaitGroup
			for range 1000 {
				watchers.Go(func() {
					if got, err := w.get(t.Context(), "k"); got != want || err != nil {
						t.Errorf("got %d, %v, want %d", got, err, want)
					}
				})
			}
			synctest.Wait()
			release <- struct{}{}
			watchers.Wait()
		}
		look(1)
		if got, _ := w.get(t.Context(), "k"); got != 1 {
			t.Errorf("a fresh value was read again: %d", got)
		}
		time.Sleep(watchAge) // by the bubble's clock, which takes no time
		look(2)
		w.forget("k")
		look(3)
	})
}

func TestAWatchHasABound(t *testing.T) {
	t.Parallel()
	w := newWatch(func(_ context.Context, key int) (int, error) { return key, nil })
	for key := range maxWatched + 1 {
		if most := min(key, maxWatched); len(w.seen) != most {
			t.Fatalf("%d values are kept of %d", len(w.seen), key)
		}
		w.keep(key, seen[int]{key, time.Now()})
	}
	if got, ok := w.fresh(maxWatched); len(w.seen) != 1 || got != maxWatched || !ok {
		t.Errorf("beyond the bound %d are kept, and the latest is %d", len(w.seen), got)
	}
}

// Whoever changed something sees it, although a read from before is still under way.
func TestWhatIsForgottenIsReadAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		release := make(chan struct{})
		w := newWatch(func(context.Context, string) (int64, error) {
			n := reads.Add(1)
			<-release
			return n, nil
		})
		before := make(chan int64)
		go func() { n, _ := w.get(t.Context(), "k"); before <- n }()
		synctest.Wait()
		w.forget("k")
		go func() { n, _ := w.get(t.Context(), "k"); before <- n }()
		synctest.Wait()
		close(release)
		if a, b := <-before, <-before; a+b != 3 {
			t.Errorf("read %d and %d", a, b)
		}
	})
}

// The database's time goes on between two reads. By the bubble's clock.
func TestTheFleetsClockGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		theirs := time.Now().Add(-time.Hour)
		f := fleet{upstreams: []upstream.Status{{Now: theirs}}, readAt: time.Now()}
		time.Sleep(watchAge / 2)
		if got := f.now(); !got.Equal(theirs.Add(watchAge / 2)) {
			t.Errorf("%s after %s", got, theirs)
		}
	})
}

func TestWatchKeepsNoError(t *testing.T) {
	t.Parallel()
	failing := true
	w := newWatch(func(context.Context, string) (string, error) {
		if failing {
			return "", errors.New("away")
		}
		return "here", nil
	})
	if _, err := w.get(t.Context(), ""); err == nil {
		t.Error("no error")
	}
	failing = false
	if got, err := w.get(t.Context(), ""); got != "here" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// A watcher that goes away does not take the read of the others with it, nor wait for it.
func TestWatcherThatLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := newWatch(func(ctx context.Context, _ string) (int, error) {
			<-release
			return 1, ctx.Err()
		})
		gone, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { _, err := w.get(gone, ""); left <- err }()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		go func() { release <- struct{}{} }()
		if got, err := w.get(t.Context(), ""); got != 1 || err != nil {
			t.Errorf("got %d, %v", got, err)
		}
	})
}

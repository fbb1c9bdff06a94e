package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/key"
)

// Without the database nobody's key is bad: 503, not 401, and health says so in its own words.
func TestKeysWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	pool, away := losable(t)
	g := openGuardedOn(t, pool, asItIs)
	text := g.key("acme", key.Admin)
	away.Store(true)
	pool.Reset()
	if a := g.with(text, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if h := decode[HealthProblem](g.site, g.with(text, "GET", "/api/health", ""), http.StatusServiceUnavailable); h.Ok {
		t.Errorf("%+v", h)
	}
	if a := g.do("GET", "/livez", ""); a.StatusCode != http.StatusOK {
		t.Errorf("livez: %d", a.StatusCode)
	}
	if a := g.with(text[1:], "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("what was never a key: %d", a.StatusCode)
	}
	away.Store(false)
	if a := g.with(text, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusOK {
		t.Errorf("when it is back: %d %s", a.StatusCode, a.body)
	}
	g.lock("api_keys")
	if a := g.with(madeUp(t), "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("when it does not answer in time: %d %s", a.StatusCode, a.body)
	}
}

// held has a request under way until it is released, or the test ends.
func (g guarded) held(text string) (answered <-chan answer, release func()) {
	g.t.Helper()
	release = g.lock("jobs")
	answer := make(chan answer, 1)
	go func() { answer <- g.with(text, "GET", "/api/ai/jobs", "") }()
	g.waitForLock()
	return answer, release
}

// A request that is under way ends with its key, so that a stream of events does not outlive it.
func TestARequestEndsWithItsKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	text := g.key("acme", key.Read)
	begun := time.Now()
	answered, _ := g.held(text)
	id, _, _ := key.Parse(text)
	_, err := g.store.Revoke(t.Context(), id)
	must(t, err)
	a := <-answered
	if took := time.Since(begun); a.StatusCode != http.StatusUnauthorized || took < key.FreshFor || took > requestTimeout/2 || !strings.Contains(string(a.body), "the key was revoked") {
		t.Errorf("after %s: %d %s", took, a.StatusCode, a.body)
	}
}

// A request that takes longer than a look at its key holds goes on while the key is good.
func TestALongRequestGoesOnWithItsKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	text := g.key("acme", key.Read)
	looks := g.looks()
	answered, release := g.held(text)
	for begun := time.Now(); g.looks() < looks+3; { // the first, and two while it waits
		if time.Since(begun) > patience {
			t.Fatal("its key is not looked at again")
		}
	}
	release()
	if a := <-answered; a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// looks counts how often keys were looked up.
func (g guarded) looks() (n int64) {
	g.t.Helper()
	_, err := g.pool.Exec(g.t.Context(), `select pg_stat_force_next_flush()`)
	must(g.t, err)
	must(g.t, g.pool.QueryRow(g.t.Context(), `select coalesce(idx_scan, 0) + coalesce(seq_scan, 0) from pg_stat_user_tables where relname = 'api_keys'`).Scan(&n))
	return n
}

// A crowd with made-up keys does not keep a good one out, nor does it cost the database more than a few statements.
func TestACrowdOfMadeUpKeys(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	good := g.key("acme", key.Read)
	stranger := madeUp(t)
	stop, done := make(chan struct{}), make(chan error, 20)
	for range cap(done) {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				r, _ := http.NewRequest(http.MethodGet, g.url+"/api/ai/jobs", nil)
				r.Header.Set("Authorization", "Bearer "+stranger)
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					done <- err
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					done <- fmt.Errorf("a stranger gets %d", resp.StatusCode)
					return
				}
			}
		}()
	}
	for range 100 {
		if a := g.with(good, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusOK {
			t.Errorf("the good key among them: %d %s", a.StatusCode, a.body)
		}
	}
	close(stop)
	for range cap(done) {
		must(t, <-done)
	}
}

// A stream that was opened with a key ends with it, and so does a wait for a job.
func TestAStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	text := g.key("acme", key.Enqueue, key.Read)
	made := g.enqueueWith(text, plainJob)
	id, _, _ := key.Parse(text)
	ended := make(chan string)
	for _, path := range []string{made.EventsURL, "/api/ai/status/events"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+path, nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+text)
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		go func() {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			ended <- path
		}()
	}
	waited := make(chan answer)
	go func() { waited <- g.with(text, "POST", "/api/ai/enqueue", plainJob, preferHeader, "wait=60") }()
	for g.jobs() < 2 { // it is kept, and waited for
	}
	_, err := g.store.Revoke(t.Context(), id)
	must(t, err)
	revoked := time.Now()
	for range 2 {
		if path := <-ended; time.Since(revoked) > streamLife/10 {
			t.Errorf("%s ended after %s", path, time.Since(revoked))
		}
	}
	if a := <-waited; a.StatusCode != http.StatusUnauthorized || time.Since(revoked) > maxWait/2 {
		t.Errorf("who waited, after %s: %d %s", time.Since(revoked), a.StatusCode, a.body)
	}
}

package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
)

func TestPreferredWait(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"wait=5": 5 * time.Second, "WAIT = 5": 5 * time.Second, `wait="7"`: 7 * time.Second, "wait=0": 0, "wait=60": time.Minute,
		"wait=61": time.Minute, "wait=99999999999999999999999": time.Minute,
		"respond-async, wait=5": 5 * time.Second, "wait=5; x=1, wait=6": 5 * time.Second, `a="b, wait=9", wait=5`: 5 * time.Second,
		`a="\", wait=9", wait=5`: 5 * time.Second, ",, wait=5": 5 * time.Second,
		"": -1, "wait": -1, "wait=": -1, "wait=-1": -1, "wait=1.5": -1, "wait=x": -1, "waiting=5": -1, "respond-async": -1, `"`: -1, "=;,": -1,
		"wait=x, wait=5": -1, // the first one of a name counts
	} {
		got, ok := preferredWait(http.Header{"Prefer": {text}})
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %s, %v; want %s", text, got, ok, want)
		}
	}
	if got, ok := preferredWait(http.Header{"Prefer": {"respond-async", "wait=3"}}); got != 3*time.Second || !ok {
		t.Errorf("two headers: %s, %v", got, ok)
	}
}

// A job that ends in time is the answer, as GET gives it, even after the time that a request's work has.
func TestEnqueueWaitsForTheJob(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.limits.request = 5 * time.Second })
	limits := ofConnections
	limits.read, limits.write = 5*time.Second, 5*time.Second
	s.works()
	unseen := make(chan answer, 1)
	go func() {
		unseen <- s.unseeing().do("POST", "/api/ai/enqueue", `{"type":"kb.ingest","payload":{"input":"x"}}`, "Prefer", "wait=1")
	}()
	at := *s
	at.url = "http://" + s.limited(limits)
	answers := make(chan answer, 1)
	go func() {
		answers <- at.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "wait=30", keyHeader, "k")
	}()
	s.until("it waits", func() bool { return s.server.waiters.inside.Load() == 1 && s.server.hub.watched() })
	if held := s.server.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes are held while it waits", held)
	}
	time.Sleep(5500 * time.Millisecond) // longer than all limits above
	job := s.claim()
	s.done(job)
	a := <-answers
	got := decode[Job](s, a, http.StatusOK)
	if got.ID != job.ID || got.State != StateDone || string(got.Payload) != `{"input":"Hello"}` || got.Result == nil ||
		a.Header.Get(appliedHeader) != "wait=30" || a.Header.Get("Location") != jobPath(job.ID) {
		t.Errorf("%v %s", a.Header, a.body)
	}
	// Where the hub sees nothing, the job is described all the same.
	if a := <-unseen; decode[EnqueueResponse](s, a, http.StatusAccepted).Waiting == nil {
		t.Errorf("not seen: %s", a.body)
	}
	// The same request again finds a job that has ended.
	a = s.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "wait=0", keyHeader, "k")
	if got := decode[Job](s, a, http.StatusOK); got.ID != job.ID || a.Header.Get(replayedHeader) != "true" || a.Header.Get(appliedHeader) != "wait=0" {
		t.Errorf("replayed: %v %s", a.Header, a.body)
	}
}

// unseeing is a process of the site whose hub does not run.
func (s *site) unseeing() *site {
	s.t.Helper()
	process := newServer(s.t, s, "")
	process.limits = s.server.limits
	server := httptest.NewServer(process.Handler())
	s.t.Cleanup(server.Close)
	at := *s
	at.url, at.server = server.URL, process
	return &at
}

// Else the answer is as ever, with the state as of now.
func TestEnqueueWaitsInVain(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.works()
	a := s.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "handling=lenient, wait=0")
	if got := decode[EnqueueResponse](s, a, http.StatusAccepted); got.State != StateQueued || got.Waiting == nil || a.Header.Get(appliedHeader) != "wait=0" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	a = s.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "wait=1")
	if got := decode[EnqueueResponse](s, a, http.StatusAccepted); got.State != StateQueued || *got.Waiting.Position != 2 || a.Header.Get(appliedHeader) != "wait=1" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	for _, prefer := range []string{"respond-async", "wait", "wait=soon"} {
		if a := s.do("POST", "/api/ai/enqueue", plainJob, "Prefer", prefer); a.StatusCode != http.StatusAccepted || a.Header.Get(appliedHeader) != "" {
			t.Errorf("%s: %d %v", prefer, a.StatusCode, a.Header)
		}
	}
}

// Whoever waits when the process stops is told the state that was seen last.
func TestEnqueueWaitsUntilTheProcessStops(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.works()
	process := newServer(t, s, "")
	at, stop, served := s.serveApart(process)
	answers := make(chan answer, 1)
	go func() { answers <- at.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "wait=60") }()
	s.until("it waits", process.hub.watched)
	job := s.claim()
	s.until("it is seen to run", func() bool {
		seen := process.hub.sightings()[job.ID]
		return seen != nil && seen.State == queue.Running
	})
	stop()
	a := <-answers
	if got := decode[EnqueueResponse](s, a, http.StatusAccepted); got.State != StateRunning || got.Waiting != nil || got.EventsURL != got.StatusURL+"/events" || a.Header.Get(appliedHeader) != "wait=60" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	must(t, <-served)
}

// Only so many wait; whoever comes then is answered at once, and whoever leaves makes room.
func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.ofStreams.waiters = 1 })
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", s.url+"/api/ai/enqueue", strings.NewReader(plainJob))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "wait=60")
	left := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
			err = fmt.Errorf("answered with %d", resp.StatusCode)
		}
		left <- err
	}()
	s.until("it waits", s.server.hub.watched)
	if a := s.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "wait=60"); a.StatusCode != http.StatusAccepted || a.Header.Get(appliedHeader) != "" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	leave()
	if err := <-left; err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("it left with %v", err)
	}
	s.until("there is room", func() bool { return s.server.waiters.inside.Load() == 0 && !s.server.hub.watched() })
}

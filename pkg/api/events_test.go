package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
)

// openStream is a stream as its client reads it.
type openStream struct {
	*http.Response
	s  *site
	in *bufio.Reader
}

// told is an event as it was read.
type told struct{ id, name, data string }

// stream opens a stream.
func (s *site) stream(path string, headers ...string) *openStream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*patience)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	must(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	must(s.t, err)
	s.t.Cleanup(func() { resp.Body.Close() })
	return &openStream{resp, s, bufio.NewReader(resp.Body)}
}

// block reads up to the next empty line; io.EOF: the stream has ended.
func (o *openStream) block() (lines []string, err error) {
	for {
		line, err := o.in.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); err != nil || line == "" {
			return lines, err
		}
		lines = append(lines, line)
	}
}

// next reads up to the next event and leaves out what else there is; false: the stream has ended.
func (o *openStream) next() (e told, ok bool) {
	o.s.t.Helper()
	for {
		lines, err := o.block()
		if err == io.EOF {
			return e, false
		}
		must(o.s.t, err)
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ": ")
			switch name {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			}
		}
		if e.name != "" {
			return e, true
		}
	}
}

// state reads the next event of a job, which has to be one.
func (o *openStream) state() (JobEvent, string) {
	o.s.t.Helper()
	e, ok := o.next()
	if !ok || e.name != "state" || e.id == "" {
		o.s.t.Fatalf("no state: %+v", e)
	}
	return readEvent[JobEvent](o.s.t, "JobEvent", e), e.id
}

// ends makes sure that nothing comes any more.
func (o *openStream) ends() {
	o.s.t.Helper()
	if e, more := o.next(); more {
		o.s.t.Errorf("more came: %+v", e)
	}
}

// readEvent reads an event's data, which must be as openapi.yaml says.
func readEvent[T any](t testing.TB, schema string, e told) (v T) {
	t.Helper()
	var value any
	must(t, json.Unmarshal([]byte(e.data), &value))
	if err := document().Components.Schemas[schema].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("not a %s: %v\n%s", schema, err, e.data)
	}
	d := json.NewDecoder(strings.NewReader(e.data))
	d.DisallowUnknownFields()
	must(t, d.Decode(&v))
	return v
}

// works registers a worker, who has to claim by hand.
func (s *site) works() {
	s.t.Helper()
	must(s.t, s.queue.Join(s.t.Context(), "w", []string{"diary.entry"}, 10))
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
	s.exec(`update delayed set due_at = now() - interval '1 s'`)
	s.exec(`update jobs set scheduled_at = (select due_at from delayed)`)
	_, err := s.queue.Promote(t.Context())
	must(t, err)
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

// A stream ends for itself after a while, so that clients are let in anew.
func TestStreamsHaveALife(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.ofStreams.life = 300 * time.Millisecond })
	for _, path := range []string{s.enqueue(plainJob).EventsURL, "/api/ai/status/events"} {
		stream := s.stream(path)
		stream.next()
		stream.ends()
	}
}

// What tests make shorter is this by default.
func TestLimitsOfStreams(t *testing.T) {
	t.Parallel()
	want := streamLimits{streams: 4000, waiters: 1000, heartbeat: 10 * time.Second, write: 10 * time.Second, life: 30 * time.Minute, status: time.Second}
	if s := open(t); s.server.ofStreams != want {
		t.Errorf("%+v, want %+v", s.server.ofStreams, want)
	}
}

// A stream outlives every time that a request has, and shows signs of life.
func TestStreamsOutliveTheLimitsOfRequests(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) {
		s.limits.request = 100 * time.Millisecond
		s.ofStreams.heartbeat = 50 * time.Millisecond
	})
	limits := ofConnections
	limits.header, limits.read, limits.write, limits.idle = 100*time.Millisecond, 200*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
	address := s.limited(limits)
	made := s.enqueue(plainJob)
	s.url = "http://" + address
	for _, path := range []string{made.EventsURL, "/api/ai/status/events"} {
		stream := s.stream(path)
		stream.next()
		for begun := time.Now(); time.Since(begun) < time.Second; { // longer than any of the limits
			if lines, err := stream.block(); err != nil || lines[0] != ":" {
				t.Fatalf("%s: %q, %v after %s", path, lines, err, time.Since(begun))
			}
		}
	}
}

func TestHeadOfEvents(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, path := range []string{s.enqueue(plainJob).EventsURL, "/api/ai/status/events"} {
		if a := s.do("HEAD", path, ""); a.StatusCode != http.StatusOK || len(a.body) != 0 || a.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: %d, %d bytes", path, a.StatusCode, len(a.body))
		}
	}
	s.left()
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

// Whoever leaves, or does not read, is let go, and there is room again.
func TestReadersThatLeaveOrDoNotRead(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.ofStreams.write = 200 * time.Millisecond })
	made := s.enqueue(plainJob)
	leaving := s.stream(made.EventsURL)
	leaving.state()
	leaving.Body.Close()
	s.left()

	lazy := dial(t, strings.TrimPrefix(s.url, "http://"))
	must(t, lazy.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := io.WriteString(lazy, "GET "+made.EventsURL+" HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	s.until("it watches", s.server.hub.watched)
	s.exec(`update jobs set last_error = repeat('x', 30000000), updated_at = now()`) // more than any buffer takes
	s.left()
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.ofStreams.streams = 2 })
	made := s.enqueue(plainJob)
	first, second := s.stream(made.EventsURL), s.stream("/api/ai/status/events")
	first.next()
	second.next()
	for _, path := range []string{made.EventsURL, "/api/ai/status/events"} {
		if a := s.do("GET", path, ""); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := s.do("GET", made.StatusURL, ""); a.StatusCode != http.StatusOK {
		t.Errorf("another request: %d", a.StatusCode)
	}
	first.Body.Close()
	s.until("there is room", func() bool { return s.server.streams.inside.Load() == 1 })
	s.stream(made.EventsURL).state()
}

// When the process stops, streams and those who wait are told at once, and nothing of them is left. Not parallel: it counts
// all goroutines of the process.
func TestStreamsEndWhenTheProcessStops(t *testing.T) {
	url := pgtest.URL(t)
	pool, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(pool.Close)
	s := openOn(t, pool) // one that goes on
	made := s.enqueue(plainJob)
	before := goleak.IgnoreCurrent()

	stopping := newServer(t, s, url)
	at, stop, served := s.serveApart(stopping)
	streams := []*openStream{at.stream(made.EventsURL), at.stream("/api/ai/status/events")}
	for _, stream := range streams {
		stream.next()
	}
	waited := make(chan answer, 1)
	go func() { waited <- at.do("POST", "/api/ai/enqueue", plainJob, "Prefer", "wait=60") }()
	s.until("it waits", func() bool { return stopping.waiters.inside.Load() == 1 })
	s.until("it listens", func() bool { return s.sessions("sluice-listen") == 1 })

	stop()
	endInTime(t, served, streams)
	if a := <-waited; a.StatusCode != http.StatusAccepted {
		t.Errorf("who waits gets %d %s", a.StatusCode, a.body)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(before, goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead")); err != nil {
		t.Error(err)
	}
}

// serveApart serves the site by another process, which stops when it is told to.
func (s *site) serveApart(process *Server) (at *site, stop func(), served <-chan error) {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- process.Serve(ctx, ln) }()
	there := *s
	there.url = "http://" + ln.Addr().String()
	return &there, stop, done
}

// endInTime waits for a process that was told to stop, which tells its streams so.
func endInTime(t *testing.T, served <-chan error, streams []*openStream) {
	t.Helper()
	begun := time.Now()
	must(t, <-served)
	if took := time.Since(begun); took > drainTimeout/2 {
		t.Errorf("it stopped after %s", took)
	}
	for _, stream := range streams {
		rest, err := io.ReadAll(stream.in)
		if err != nil || !strings.Contains(string(rest), "\nretry: ") {
			t.Errorf("the stream ends with %q, %v", rest, err)
		}
	}
}

// A database that does not answer silences no stream, and keeps none from being told that the process stops.
func TestStreamsDoNotHangWithTheDatabase(t *testing.T) {
	t.Parallel()
	s := open(t)
	made := s.enqueue(plainJob)
	process := newServer(t, s, "")
	process.ofStreams.heartbeat = 50 * time.Millisecond
	at, stop, served := s.serveApart(process)
	streams := []*openStream{at.stream(made.EventsURL), at.stream("/api/ai/status/events")}
	for _, stream := range streams {
		stream.next()
	}
	lock, err := s.pool.Begin(t.Context())
	must(t, err)
	defer lock.Rollback(context.Background())
	_, err = lock.Exec(t.Context(), `lock table upstreams`)
	must(t, err)
	s.waitForLock()
	begun := time.Now()
	for _, stream := range streams {
		for range 30 {
			if lines, err := stream.block(); err != nil || len(lines) > 0 && lines[0] != ":" {
				t.Fatalf("while the database hangs: %q, %v", lines, err)
			}
		}
	}
	if took := time.Since(begun); took > patience {
		t.Errorf("30 signs of life took %s", took)
	}
	stop()
	endInTime(t, served, streams)
}

// newServer makes another process of the same site, which listens on url.
func newServer(t testing.TB, s *site, url string) *Server {
	t.Helper()
	server, err := New(Config{Queue: s.queue, Upstreams: s.server.upstreams, DB: s.pool, ListenURL: url, Log: s.server.log})
	must(t, err)
	return server
}

// sessions counts the database's connections of one name.
func (s *site) sessions(name string) (n int) {
	s.t.Helper()
	must(s.t, s.pool.QueryRow(s.t.Context(), `select count(*) from pg_stat_activity where datname = current_database() and application_name = $1`, name).Scan(&n))
	return n
}

// statements is a tracer that counts.
type statements struct{ n atomic.Int64 }

func (c *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func (c *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (c *statements) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {
	c.n.Add(1)
}

func (c *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// counted is a site whose statements are counted, and which listens.
func counted(t testing.TB) (*site, *statements) {
	t.Helper()
	url, count := pgtest.URL(t), &statements{}
	cfg, err := pgxpool.ParseConfig(url)
	must(t, err)
	cfg.MaxConns, cfg.ConnConfig.Tracer = 20, count
	cfg.ConnConfig.RuntimeParams["application_name"] = "api"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	must(t, err)
	t.Cleanup(pool.Close)
	return openWith(t, pool, func(s *Server) { s.hub = newHub(s, url) }), count
}

// Two thousand streams of two thousand jobs cost the database one listener and a handful of statements a second, tell
// their events, and leave room for other requests.
//
// It runs beside no other test of the package: two thousand clients take the machine for themselves.
func TestTwoThousandStreams(t *testing.T) {
	s, count := counted(t)
	s.works()

	const crowd = 2000
	batch := decode[BatchResponse](s, s.do("POST", "/api/ai/enqueue/batch", "["+strings.Repeat(plainJob+",", crowd-1)+plainJob+"]"), http.StatusAccepted)
	conns, streams := make([]net.Conn, crowd), make([]*bufio.Reader, crowd)
	sent := count.n.Load()
	opened := time.Now()
	var all sync.WaitGroup
	for i, id := range batch.Ids {
		conn := dial(t, strings.TrimPrefix(s.url, "http://"))
		conns[i] = conn
		_, err := fmt.Fprintf(conn, "GET %s/events HTTP/1.1\r\nHost: x\r\n\r\n", jobPath(id))
		must(t, err)
		streams[i] = bufio.NewReaderSize(conn, 512)
	}
	wait := func(what string) {
		t.Helper()
		for i := range streams {
			all.Go(func() {
				if err := conns[i].SetDeadline(time.Now().Add(6 * patience)); err != nil {
					t.Error(err)
				}
				for {
					line, err := streams[i].ReadString('\n')
					if err != nil {
						t.Errorf("stream %d: %v, before %s", i, err, what)
						return
					}
					if strings.Contains(line, what) {
						return
					}
				}
			})
		}
		all.Wait()
	}
	wait(`"state":"queued"`)
	perSecond := func(since time.Time, before int64) float64 {
		return float64(count.n.Load()-before) / time.Since(since).Seconds()
	}
	t.Logf("opened in %s, with %d statements", time.Since(opened), count.n.Load()-sent)
	if n := count.n.Load() - sent; n > crowd/10 && perSecond(opened, sent) > 12 {
		t.Errorf("to open %d streams took %d statements", crowd, n)
	}

	since, before := time.Now(), count.n.Load()
	for range 20 { // other requests meanwhile
		if a := s.do("GET", "/livez", ""); a.StatusCode != http.StatusOK {
			t.Errorf("livez: %d", a.StatusCode)
		}
		time.Sleep(100 * time.Millisecond) // the time in which statements are counted
	}
	if rate := perSecond(since, before); rate > 12 {
		t.Errorf("%.1f statements a second for %d streams at rest", rate, crowd)
	} else {
		t.Logf("%.1f statements a second at rest", rate)
	}
	listeners, pooled := s.sessions("sluice-listen"), s.sessions("api")
	t.Logf("%d listeners, %d connections of the pool, %d streams", listeners, pooled, s.server.streams.inside.Load())
	if listeners != 1 || pooled > 20 {
		t.Errorf("%d listeners, %d connections", listeners, pooled)
	}

	since, before = time.Now(), count.n.Load()
	_, err := s.pool.Exec(t.Context(), `with gone as (delete from ready) update jobs set state = 'cancelled', finished_at = now(), updated_at = now()`)
	must(t, err)
	_, err = s.pool.Exec(t.Context(), `select pg_notify($1, '')`, queue.StateChannel)
	must(t, err)
	wait(`"state":"cancelled"`)
	t.Logf("all told of their end in %s, with %d statements", time.Since(since), count.n.Load()-before)
	if n := count.n.Load() - before; n > crowd/10 && perSecond(since, before) > 12 {
		t.Errorf("to tell of %d ends took %d statements", crowd, n)
	}
	s.until("all streams have ended", func() bool { return s.server.streams.inside.Load() == 0 })
}

// While nobody watches, nobody looks and nobody listens.
func TestWatchingNothingCostsNothing(t *testing.T) {
	t.Parallel()
	s, count := counted(t)
	s.stream(s.enqueue(plainJob).EventsURL).state()
	before := count.n.Load()
	s.until("it looks", func() bool { return count.n.Load() > before })

	s, count = counted(t)
	before = count.n.Load()
	time.Sleep(2 * hubEvery) // the time in which there would be looks
	if n := count.n.Load() - before; n != 0 {
		t.Errorf("%d statements", n)
	}
	if n := s.sessions("sluice-listen"); n != 0 {
		t.Errorf("%d listeners", n)
	}
}

// Neither without notifications nor without the database does a stream end, and it goes on where it was.
func TestStreamsSurviveTheDatabase(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	cfg, err := pgxpool.ParseConfig(url)
	must(t, err)
	var away atomic.Bool
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if away.Load() {
			network, addr = "tcp", "127.0.0.1:1" // where nobody listens
		}
		return dial(ctx, network, addr)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	must(t, err)
	t.Cleanup(pool.Close)
	s := openWith(t, pool, func(server *Server) {
		server.hub = newHub(server, url)
		server.ofStreams.heartbeat = 50 * time.Millisecond
	})
	operator, err := pgxpool.New(t.Context(), url)
	must(t, err)
	t.Cleanup(operator.Close)
	by := *s // by hand, past the API
	by.pool = operator
	stream := s.stream(s.enqueue(plainJob).EventsURL)
	stream.state()

	by.until("it listens", func() bool { return by.sessions("sluice-listen") == 1 })
	by.exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'sluice-listen'`)
	by.exec(`update jobs set lease = lease + 1`)
	if got, _ := stream.state(); got.Lease != 1 {
		t.Errorf("without notifications: %+v", got)
	}
	by.until("it listens again", func() bool { return by.sessions("sluice-listen") == 1 })

	away.Store(true)
	pool.Reset()
	by.until("the look fails", func() bool { return strings.Contains(s.log.String(), "works=false") })
	by.exec(`update jobs set lease = lease + 1`)
	for range 3 {
		if lines, err := stream.block(); err != nil || lines[0] != ":" {
			t.Fatalf("without the database: %q, %v", lines, err)
		}
	}
	away.Store(false)
	if got, _ := stream.state(); got.Lease != 2 {
		t.Errorf("with the database again: %+v", got)
	}
	if n := strings.Count(s.log.String(), "the look at watched jobs"); n != 2 {
		t.Errorf("the outage is logged %d times", n)
	}
}

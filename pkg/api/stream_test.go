package api

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
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
	unhurried := open(t)
	made := unhurried.enqueue(plainJob)
	s := openWith(t, unhurried.pool, func(s *Server) {
		s.limits.request = time.Second
		s.ofStreams.heartbeat = 50 * time.Millisecond
	})
	limits := ofConnections
	limits.header, limits.read, limits.write, limits.idle = time.Second, time.Second, 1500*time.Millisecond, time.Second
	s.url = "http://" + s.limited(limits)
	for _, path := range []string{made.EventsURL, "/api/ai/status/events"} {
		var stream *openStream
		s.until("it opens within the limit of a request, which a busy machine may miss", func() bool {
			stream = s.stream(path)
			_, began := stream.next()
			return began
		})
		for begun := time.Now(); time.Since(begun) < 2*time.Second; { // longer than any of the limits
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

// Whoever leaves, or does not read, is let go, and there is room again.
func TestReadersThatLeaveOrDoNotRead(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.ofStreams.write = time.Second })
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
	find := func() error {
		return goleak.Find(before, goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"),
			goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
	}
	err = find()
	for deadline := time.Now().Add(patience / 4); err != nil && time.Now().Before(deadline); err = find() { // what leaks stays
	}
	must(t, err)
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
	s.lock("upstreams")
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

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/telemetry"
	"github.com/sluicedev/sluice/pkg/upstream"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const upstreamName = "openai:gpt-5"

// site is an API over real HTTP, on a database of its own.
type site struct {
	t      testing.TB
	url    string
	pool   *pgxpool.Pool
	queue  *queue.Queue
	server *Server
	log    *lockedBuffer
}

func open(t testing.TB, origins ...string) *site {
	t.Helper()
	return openOn(t, pgtest.New(t), origins...)
}

func openOn(t testing.TB, pool *pgxpool.Pool, origins ...string) *site {
	t.Helper()
	return openWith(t, pool, func(*Server) {}, origins...)
}

// openWith changes the server before it serves.
func openWith(t testing.TB, pool *pgxpool.Pool, change func(*Server), origins ...string) *site {
	t.Helper()
	s := &site{t: t, pool: pool, log: &lockedBuffer{}}
	s.queue = queue.New(pool, jobtype.Builtin("gpt-5"))
	upstreams := upstream.New(pool)
	must(t, upstreams.Ensure(t.Context(), upstreamName))
	metrics := telemetry.NewAPI()
	log := slog.New(slog.NewTextHandler(s.log, nil))
	server, err := New(Config{
		Queue: s.queue, Upstreams: upstreams, DB: pool, CORSOrigins: origins, Log: log,
		Metrics: metrics.Handler(), Answered: metrics.Answered,
	})
	must(t, err)
	metrics.Fleet(telemetry.Fleet{
		Counts: server.Counts, Upstreams: server.Upstreams, Backlog: server.Backlog, Limit: patience, Log: log,
	})
	server.limits.probe = patience // a busy machine may take longer than an operator's probe waits
	change(server)
	s.server = server
	s.url = listen(t, server.Serve)
	return s
}

// listen serves on a port of its own until the test ends.
func listen(t testing.TB, serve func(context.Context, net.Listener) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := serve(ctx, ln); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return "http://" + ln.Addr().String()
}

// answer is a response that was checked against openapi.yaml.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request. A body is JSON, unless headers (name, value, …) say otherwise.
func (s *site) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, reader)
	must(s.t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	must(s.t, err)
	defer resp.Body.Close()
	a := answer{Response: resp}
	a.body, err = io.ReadAll(resp.Body)
	must(s.t, err)
	if method != http.MethodHead && method != http.MethodOptions {
		s.honours(r, a)
	}
	return a
}

var document = sync.OnceValue(func() *openapi3.T {
	doc, err := openapi3.NewLoader().LoadFromData(openapiYAML)
	if err != nil {
		panic(err)
	}
	return doc
})

// honours checks an answer against openapi.yaml, and every one of 400 or above for being a problem.
func (s *site) honours(r *http.Request, a answer) {
	s.t.Helper()
	if a.StatusCode >= 400 {
		s.isProblem(a)
	}
	route := routeOf(r)
	if route == nil {
		return
	}
	err := openapi3filter.ValidateResponse(s.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 a.StatusCode, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		s.t.Errorf("%s %s: %d is not what openapi.yaml says: %v\n%s", r.Method, r.URL.Path, a.StatusCode, err, a.body)
	}
}

func routeOf(r *http.Request) *routers.Route {
	for path, item := range document().Paths.Map() {
		pattern := "^" + regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$"
		op := item.GetOperation(r.Method)
		if op != nil && regexp.MustCompile(pattern).MatchString(r.URL.EscapedPath()) {
			return &routers.Route{Spec: document(), Path: path, PathItem: item, Method: r.Method, Operation: op}
		}
	}
	return nil
}

func (s *site) isProblem(a answer) Problem {
	s.t.Helper()
	if got := a.Header.Get("Content-Type"); got != problemType {
		s.t.Errorf("status %d: Content-Type %q, want %q: %.200s", a.StatusCode, got, problemType, a.body)
	}
	var value any
	must(s.t, json.Unmarshal(a.body, &value))
	if err := document().Components.Schemas["Problem"].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		s.t.Errorf("not a problem: %v\n%s", err, a.body)
	}
	var p Problem
	must(s.t, json.Unmarshal(a.body, &p))
	if p.Status != a.StatusCode || p.RequestID != a.Header.Get("X-Request-Id") {
		s.t.Errorf("problem and answer differ: %s, %d, %s", a.body, a.StatusCode, a.Header.Get("X-Request-Id"))
	}
	return p
}

// decode reads an answer, which must have no member that the types of openapi.yaml lack.
func decode[T any](s *site, a answer, status int) T {
	s.t.Helper()
	if a.StatusCode != status {
		s.t.Fatalf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	var v T
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	must(s.t, d.Decode(&v))
	return v
}

// enqueue posts a job that is accepted.
func (s *site) enqueue(body string, headers ...string) EnqueueResponse {
	s.t.Helper()
	return decode[EnqueueResponse](s, s.do("POST", "/api/ai/enqueue", body, headers...), http.StatusAccepted)
}

const plainJob = `{"type":"diary.entry","payload":{"input":"Hello"}}`

// jobs counts what is stored.
func (s *site) jobs() (n int) {
	s.t.Helper()
	must(s.t, s.pool.QueryRow(context.Background(), `select count(*) from jobs`).Scan(&n))
	return n
}

func (s *site) exec(sql string, args ...any) {
	s.t.Helper()
	tag, err := s.pool.Exec(s.t.Context(), sql, args...)
	must(s.t, err)
	if tag.RowsAffected() == 0 {
		s.t.Fatalf("no row: %s", sql)
	}
}

// lock has all who read or write a table wait until it is released, or the test ends.
func (s *site) lock(table string) (release func()) {
	s.t.Helper()
	tx, err := s.pool.Begin(context.Background())
	must(s.t, err)
	release = func() { _ = tx.Rollback(context.Background()) } // a second one finds nothing to do
	s.t.Cleanup(release)
	_, err = tx.Exec(s.t.Context(), `lock table `+table)
	must(s.t, err)
	return release
}

// waitForLock returns when a request waits for a table.
func (s *site) waitForLock() {
	s.t.Helper()
	for begun := time.Now(); ; {
		var waits bool
		must(s.t, s.pool.QueryRow(s.t.Context(), `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waits))
		if waits {
			return
		}
		if time.Since(begun) > patience {
			s.t.Fatal("nobody waits")
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

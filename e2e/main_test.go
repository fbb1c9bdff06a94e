// Package e2e tests the whole system: the real binaries as processes, a real PostgreSQL, real HTTP to the API and to a
// provider. What one process promises is tested beside its code; here is what only several can show.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// patience bounds every wait for an event. It is no measure of speed.
const patience = 2 * time.Minute

// bin is where the binaries under test are.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sluice-e2e-")
	if err != nil {
		panic(err)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "../cmd/api", "../cmd/worker")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binaries: %v\n%s", err, out)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	code := pgtest.Run(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// system is one database, one API, one provider and any number of workers.
type system struct {
	t    *testing.T
	db   *pgxpool.Pool
	url  string
	sim  *llmtest.Server
	port string // of the API
	api  string

	said transcript // of every process
}

// transcript keeps what processes write.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start starts all of it but the workers.
func start(t *testing.T, options ...llmtest.Option) *system {
	t.Helper()
	s := prepare(t, freePort(t), options...)
	s.serve()
	return s
}

// prepare makes the database and the provider for an API on a port.
func prepare(t *testing.T, port string, options ...llmtest.Option) *system {
	t.Helper()
	s := &system{t: t, url: pgtest.URL(t), sim: llmtest.Start(t, options...), port: port, api: "http://127.0.0.1:" + port}
	pool, err := pgxpool.New(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s.db = pool
	return s
}

// serve starts the API and waits until it is ready.
func (s *system) serve(env ...string) *process {
	s.t.Helper()
	p := s.run("api", append([]string{"DATABASE_URL=" + s.url, "PORT=" + s.port}, env...)...)
	s.until("the API is ready", func() bool {
		res, err := http.Get(s.api + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return p
}

func (s *system) worker(env ...string) *process {
	s.t.Helper()
	return s.run("worker", append([]string{
		"DATABASE_URL=" + s.url, "OPENAI_BASE_URL=" + s.sim.BaseURL(), "OPENAI_API_KEY=sk-test",
	}, env...)...)
}

// process is a running binary. It is killed when the test ends, at the latest.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	err  error
}

// program is one of the binaries under test, with nothing of our own settings.
func program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	return cmd
}

func (s *system) run(name string, env ...string) *process {
	s.t.Helper()
	cmd := program(name)
	cmd.Env = append(cmd.Env, env...)
	out := io.MultiWriter(s.t.Output(), &s.said)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: cmd}
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		p.wait()
	})
	return p
}

func (p *process) wait() error {
	p.once.Do(func() { p.err = p.cmd.Wait() })
	return p.err
}

// terminate asks the process to stop and waits until it has.
func (p *process) terminate() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.wait()
}

// kill ends it without a warning.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.wait()
}

// do makes a request to the API and decodes the answer.
func (s *system) do(method, path string, body, answer any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.api+path, sent)
	if err != nil {
		return nil, err
	}
	if sent != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if answer == nil {
		return res, nil
	}
	return res, json.Unmarshal(raw, answer)
}

func (s *system) enqueue(jobType, input string) string {
	s.t.Helper()
	var made struct{ ID string }
	res, err := s.do("POST", "/api/ai/enqueue", map[string]any{"type": jobType, "payload": map[string]any{"input": input}}, &made)
	if err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != http.StatusAccepted || made.ID == "" {
		s.t.Fatalf("enqueue answered %s", res.Status)
	}
	return made.ID
}

func (s *system) until(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for: %s\n%s", what, s.picture())
		}
		time.Sleep(20 * time.Millisecond) // between two looks from outside: other processes give no event
	}
}

// picture is what the database knows, for whoever reads of a wait in vain.
func (s *system) picture() string {
	var text string
	err := s.db.QueryRow(s.t.Context(), `
		select concat_ws(e'\n', now(),
			(select string_agg('job ' || to_jsonb(j)::text, e'\n') from
				(select * from jobs where state not in ('done', 'cancelled') order by id limit 10) j),
			(select string_agg('attempt ' || to_jsonb(a)::text, e'\n') from
				(select outcome, status, error, count(*), min(started_at), max(finished_at) from attempts group by 1, 2, 3) a),
			(select string_agg('claim ' || to_jsonb(c)::text, e'\n') from (select * from claims order by 1 limit 10) c),
			(select string_agg('event ' || to_jsonb(e)::text, e'\n' order by id) from breaker_events e),
			(select string_agg('upstream ' || to_jsonb(u)::text, e'\n') from upstreams u),
			(select string_agg('worker ' || to_jsonb(w)::text, e'\n') from workers w))`).Scan(&text)
	if err != nil {
		return err.Error()
	}
	return text
}

func (s *system) count(sql string, args ...any) (n int) {
	s.t.Helper()
	if err := s.db.QueryRow(s.t.Context(), sql, args...).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *system) untilDone(n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d jobs done", n), func() bool { return s.count(`select count(*) from jobs where state = 'done'`) == n })
}

var (
	firstPort  = rand.N(1 << 16)
	portsTried atomic.Int32
)

// freePort finds a port that nobody listens on, below those that the system gives to whoever dials: one of thousands of
// connections to other tests' processes might take it before ours listens. None is found twice.
func freePort(t *testing.T) string {
	t.Helper()
	const least, ports = 10_000, 6_000
	for range 100 {
		port := strconv.Itoa(least + (firstPort+int(portsTried.Add(1)))%ports)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return ""
}

// need finds a tool, or says what is missing: a failure where CI=true.
func need(t *testing.T, tool, why string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" || !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is needed %s: %v", tool, why, err)
	}
	t.Skipf("%s is not installed; it is needed %s", tool, why)
	return ""
}

// npmInstalls runs npm in a folder, up to three times: it does not go on where an answer of the registry breaks off.
func npmInstalls(t *testing.T, dir, npm string, args ...string) {
	t.Helper()
	for try := 1; ; try++ {
		install := exec.CommandContext(t.Context(), npm, args...)
		install.Dir = dir
		out, err := install.CombinedOutput()
		if err == nil {
			return
		}
		t.Logf("npm %s: %v\n%s", args[0], err, out)
		if try == 3 {
			t.Fatalf("npm %s failed %d times in %s", args[0], try, dir)
		}
	}
}

// spell shortens a list for a message.
func spell(list []string) string {
	if len(list) > 5 {
		list = append(list[:5:5], "...")
	}
	return strings.Join(list, ", ")
}

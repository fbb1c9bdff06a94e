//go:build browser

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

const (
	suite         = "../web/browser"
	suitePatience = 15 * time.Second // for the suite to end by itself and close its browsers
)

// TestBrowser runs those tests of web/browser whose titles match SLUICE_TEST_BROWSER, or all: the page in a real Chromium.
// Each of them asks this one for a stage. It has a tag of its own, which `make browser` gives, and make test with it: a
// browser amid all other tests would have too little of two cores.
func TestBrowser(t *testing.T) {
	wanted := cmp.Or(os.Getenv("SLUICE_TEST_BROWSER"), ".")
	npm := need(t, "npm", "for the page's tests")
	need(t, "node", "for the page's tests")
	browser := chromium(t)
	npmInstalls(t, suite, npm, "ci", "--ignore-scripts", "--prefer-offline")
	house := newTheatre(t)
	house.play(t, wanted, "CHROMIUM="+browser, "SLUICE_TEST_STAGES="+house.url)
}

// chromium finds the browser, or says what is missing: a failure where CI=true.
func chromium(t *testing.T) string {
	t.Helper()
	names := []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return need(t, "chromium", "for the page's tests (apt-get install chromium, or name one in CHROMIUM)")
}

// theatre gives the suite its stages: a system of its own for each of its tests. They are set in the test's own
// goroutine, which alone may end it.
type theatre struct {
	url    string
	calls  chan func()
	stages []*stage
}

// stage is a system that a test in the browser plays on.
type stage struct {
	*system
	env    []string // of the API
	server *process
	all    []*process
}

// scenery is what a test wants of its stage.
type scenery struct {
	Auth   bool           `json:"auth"`   // keys are asked for
	Demo   bool           `json:"demo"`   // the page gets the demo's switch of the provider
	Script llmtest.Script `json:"script"` // the provider's
}

// set is a stage as a test finds it.
type set struct {
	ID       int    `json:"id"`
	API      string `json:"api"`
	Provider string `json:"provider"`
	Key      string `json:"key,omitempty"`
}

func newTheatre(t *testing.T) *theatre {
	t.Helper()
	house := &theatre{calls: make(chan func())}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stages", house.handle(t, house.build))
	mux.HandleFunc("DELETE /stages/{id}", house.handle(t, house.on((*stage).strike)))
	mux.HandleFunc("POST /stages/{id}/api/stop", house.handle(t, house.on((*stage).stopAPI)))
	mux.HandleFunc("POST /stages/{id}/api/start", house.handle(t, house.on((*stage).startAPI)))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	house.url = "http://" + listener.Addr().String()
	return house
}

// handle has the test's goroutine answer a request.
func (house *theatre) handle(t *testing.T, answer func(*testing.T, *http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answered := make(chan any, 1)
		select {
		case house.calls <- func() { answered <- answer(t, r) }:
		case <-t.Context().Done():
			return
		}
		select {
		case made := <-answered:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(made) // a test that has given up needs no answer
		case <-t.Context().Done():
		}
	}
}

func (house *theatre) build(t *testing.T, r *http.Request) any {
	var want scenery
	if err := json.NewDecoder(r.Body).Decode(&want); err != nil {
		t.Fatalf("the suite asks for a stage that is none: %v", err)
	}
	port := freePort(t)
	s := &stage{system: prepare(t, port, llmtest.WithScript(want.Script), llmtest.ServePages("http://127.0.0.1:"+port))}
	made := set{ID: len(house.stages), API: s.api, Provider: s.sim.URL()}
	if want.Auth {
		s.env = append(s.env, "SLUICE_AUTH=required")
		made.Key = s.createKey()
	}
	if want.Demo {
		s.env = append(s.env, "SLUICE_DEMO_SIMULATOR="+s.sim.URL())
	}
	s.startAPI()
	s.all = append(s.all, s.worker("SLUICE_HOLD_PROBE_INTERVAL=2s"))
	house.stages = append(house.stages, s)
	return made
}

// on is an answer of the stage that a request names.
func (house *theatre) on(do func(*stage)) func(*testing.T, *http.Request) any {
	return func(t *testing.T, r *http.Request) any {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil || id < 0 || id >= len(house.stages) {
			t.Fatalf("there is no stage %q", r.PathValue("id"))
		}
		do(house.stages[id])
		return nil
	}
}

func (s *stage) startAPI() { s.server = s.serve(s.env...) }

func (s *stage) stopAPI() { s.server.kill() }

// strike ends the stage's processes; its database and its provider stay until all tests have ended.
func (s *stage) strike() {
	for _, p := range append(s.all, s.server) {
		p.kill()
	}
}

// createKey makes a key as an operator does.
func (s *stage) createKey() string {
	s.t.Helper()
	cmd := program("api", "key", "create", "-name", "browser", "-scopes", "enqueue,read,operate,admin")
	cmd.Env = append(cmd.Env, "DATABASE_URL="+s.url)
	cmd.Stderr = s.t.Output()
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// play runs the wanted tests of the suite and answers it until it has ended.
func (house *theatre) play(t *testing.T, wanted string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // a stage that could not be set ends the suite as well
	cmd := exec.CommandContext(ctx, "node", "node_modules/@playwright/test/cli.js", "test", "--grep", wanted)
	cmd.Dir, cmd.Env = suite, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = suitePatience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { <-ended })
	for {
		select {
		case call := <-house.calls:
			call()
		case err := <-ended:
			ended <- nil
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				t.Fatal("tests in the browser failed: see above")
			} else if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

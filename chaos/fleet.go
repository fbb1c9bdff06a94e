package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	workers     = 4
	apis        = 2
	drainLimit  = 5 * time.Second
	stopFor     = drainLimit + 20*time.Second // what the README promises
	readyFor    = 40 * time.Second
	callTimeout = 8 * time.Second

	shortLease   = 5 * time.Second
	defaultLease = 30 * time.Second
)

// config is Sluice's file. A call that hangs must not take longer than a fault.
const config = `types:
  kb.ingest:        {upstream: openai, model: gpt-5, priority: 4, policy: none, timeout: 8s}
  diary.entry:      {upstream: openai, model: gpt-5, priority: 5, policy: none, timeout: 8s}
  autopoietic.tick: {upstream: openai, model: gpt-5, priority: 9, policy: none, timeout: 8s}
`

// seat is where a worker or an API runs: one process after the other, on the same wires and, for an API, the same port.
type seat struct {
	name     string
	program  string
	database wire
	direct   wire // for notifications
	provider wire // a worker's
	port     string
	process  *process
	starts   int
}

// fleet is all processes of Sluice.
type fleet struct {
	dir       string // programs, configuration and logs
	urls      func(seat *seat) []string
	workers   []*seat
	apis      []*seat
	deadAfter time.Duration

	mu     sync.Mutex
	unwell []string // what ended otherwise than it was told to
}

func (f *fleet) environ(s *seat) []string {
	env := append(f.urls(s), "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), "SLUICE_CONFIG="+filepath.Join(f.dir, "config.yaml"))
	if s.port != "" {
		return append(env, "PORT="+s.port)
	}
	return append(env, "OPENAI_BASE_URL=http://"+s.provider.Listen+"/v1", "OPENAI_API_KEY=sk-chaos", "SLUICE_CONCURRENCY=50",
		"SLUICE_DEATH_AFTER="+f.deadAfter.String(), "SLUICE_DRAIN_LIMIT="+drainLimit.String())
}

// start starts a process on a seat.
func (f *fleet) start(s *seat) error { return f.startAs(s, filepath.Join(f.dir, s.program)) }

// startAs starts another program there than the seat's own, with more environment.
func (f *fleet) startAs(s *seat, program string, more ...string) (err error) {
	cmd := exec.Command(program)
	cmd.Env = append(f.environ(s), more...)
	s.starts++
	s.process, err = launch(s.name, filepath.Join(f.dir, fmt.Sprintf("%s.%d.log", s.name, s.starts)), cmd)
	return err
}

// stop tells the process of a seat to end, and notes if it does not do so well.
func (f *fleet) stop(s *seat) { f.note(s.process.terminate(stopFor)) }

func (f *fleet) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unwell = append(f.unwell, err.Error())
}

// replace stops the process of a seat and starts a new one.
func (f *fleet) replace(ctx context.Context, s *seat) error {
	f.stop(s)
	if err := f.start(s); err != nil {
		return err
	}
	if s.port != "" {
		return s.ready(ctx)
	}
	return nil
}

// roll replaces every process in turn.
func (f *fleet) roll(ctx context.Context, seats ...*seat) error {
	for _, s := range seats {
		if err := f.replace(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) all() []*seat { return append(append([]*seat{}, f.workers...), f.apis...) }

// unasked tells of processes that ended though nobody told them to, and starts them again: one violation must not become all.
func (f *fleet) unasked() (err error) {
	for _, s := range f.all() {
		if ended := s.process.unasked(); ended != nil {
			s.process.told.Store(true)
			f.note(ended)
			err = errors.Join(err, f.start(s))
		}
	}
	return err
}

// broken are the processes that ended badly.
func (f *fleet) broken() []violation {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.unwell) == 0 {
		return nil
	}
	return []violation{{"no process ends unless it is told to, and it ends well then", f.unwell}}
}

// kill ends all processes at once.
func (f *fleet) kill() {
	for _, s := range f.all() {
		if s.process != nil {
			s.process.kill()
		}
	}
}

// ready waits until an API answers.
func (s *seat) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyFor)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url()+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !sleep(ctx, 50*time.Millisecond) { // another process gives no event
			return fmt.Errorf("%s is not ready: %w", s.name, ctx.Err())
		}
	}
}

func (s *seat) url() string { return "http://127.0.0.1:" + s.port }

// like is a pattern of the names under which the seat's process works.
func (s *seat) like() string { return fmt.Sprintf("%%/%d/%%", s.process.pid()) }

// pick chooses n seats.
func pick(random *rand.Rand, seats []*seat, n int) []*seat {
	var chosen []*seat
	for _, i := range random.Perm(len(seats))[:n] {
		chosen = append(chosen, seats[i])
	}
	return chosen
}

func names(seats []*seat) string {
	var list []string
	for _, s := range seats {
		list = append(list, s.name)
	}
	return strings.Join(list, " and ")
}

// freePort finds a port that nobody listens on, below those that the system gives to whoever dials or asks for any: a wire
// or one of hundreds of connections might take it before an API listens on it, or while one is away.
func freePort() (string, error) {
	for range 100 {
		port := strconv.Itoa(10_000 + rand.N(6_000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return "", errors.New("no port is free")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/pg/local"
)

const (
	defaultPort       = "3000"
	readyTimeout      = 30 * time.Second
	stopTimeout       = 15 * time.Second // for the children to end by themselves, before they are killed
	holdProbeInterval = "10s"            // so that nobody waits for long to see it
	drainLimit        = "5s"             // for the workers' calls within that, so that they can still give jobs back
)

// stack is what is running, and how to end it.
type stack struct {
	ctx    context.Context // ends with Ctrl-C, or with the reason why a child ended
	cancel context.CancelCauseFunc
	env    func(string) string
	out    io.Writer

	bin      string // the folder of our programs
	logs     string // a temporary folder
	postgres *local.Server
	children []*child
	setting  []string // what every child gets beside our own environment
	client   *client
	provider string // the simulator's URL, or ""
	port     string // of the API
}

func newStack(ctx context.Context, env func(string) string, out io.Writer) (*stack, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	port, err := choosePort(env("PORT"), defaultPort)
	if err != nil {
		return nil, err
	}
	logs, err := os.MkdirTemp("", "sluice-demo-")
	if err != nil {
		return nil, fmt.Errorf("no folder for logs in %s, which TMPDIR may name: %w", os.TempDir(), err)
	}
	s := &stack{env: env, out: out, bin: filepath.Dir(self), logs: logs, port: port}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	return s, nil
}

// close ends everything in the opposite order. If a child's end is what stopped us, that becomes the error.
func (s *stack) close(err *error) {
	if cause := context.Cause(s.ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		*err = cause
	} else if s.ctx.Err() != nil {
		*err = nil // Ctrl-C: whatever failed, failed because of it
	}
	s.cancel(nil)
	isProvider := func(c *child) bool { return c.name == simulator }
	stopAll(slices.DeleteFunc(slices.Clone(s.children), isProvider))
	stopAll(s.children) // the provider last: the workers' calls still ended
	if s.postgres != nil {
		*err = errors.Join(*err, s.postgres.Stop())
	}
	*err = errors.Join(*err, os.RemoveAll(s.logs))
}

// stopAll ends children at the same moment.
func stopAll(children []*child) {
	var all sync.WaitGroup
	for _, c := range children {
		all.Go(func() { c.stop(stopTimeout) })
	}
	all.Wait()
}

// say prints a line about one part of the stack.
func (s *stack) say(what, format string, args ...any) {
	fmt.Fprintf(s.out, "%-10s  %s\n", what, fmt.Sprintf(format, args...))
}

// set adds a variable to the environment of the children that start from now on.
func (s *stack) set(name, value string) { s.setting = append(s.setting, name+"="+value) }

// environ is our own environment, without what would make the children's settings contradict each other.
func (s *stack) environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{"DATABASE_URL_FILE", "SLUICE_HOST", "SLUICE_AUTH", "SLUICE_ADMIN_ADDR", "SLUICE_DEMO_SIMULATOR", "SLUICE_HOLD_PROBE_INTERVAL"}, name)
	})
	return append(env, s.setting...)
}

// startDatabase uses url, or a private PostgreSQL if that is empty, and migrates it.
func (s *stack) startDatabase(url string) error {
	if url == "" {
		postgres, err := local.Start(s.ctx, local.Options{Fsync: true, Tell: func(news string) { s.say("database", "%s", news) }})
		if err != nil {
			return err
		}
		s.postgres, url = postgres, postgres.URL("postgres")
		s.say("database", "PostgreSQL %d, private to this run", postgres.Major())
	} else {
		s.say("database", "the one in DATABASE_URL")
	}
	s.set("DATABASE_URL", url)
	migrate, err := s.start("migrate", "api", "migrate")
	if err != nil {
		return err
	}
	return migrate.wait(s.ctx)
}

const simulator = "simulator"

// startProvider starts the simulated provider, unless there is a key for a real one.
func (s *stack) startProvider() error {
	if s.env("OPENAI_API_KEY") != "" || s.env("OPENAI_API_KEY_FILE") != "" {
		s.say("provider", "the real one: a few short calls are made with your key")
		return nil
	}
	c, err := s.start(simulator, simulator, "-rpm", "240", "-tpm", "200000", "-latency", "400ms", "-jitter", "800ms",
		"-page", "http://127.0.0.1:"+s.port, "-page", "http://localhost:"+s.port)
	if err != nil {
		return err
	}
	s.watch(c)
	if s.provider, err = c.url(s.ctx); err != nil {
		return err
	}
	s.set("OPENAI_BASE_URL", s.provider+"/v1")
	s.set("OPENAI_API_KEY", "simulated")
	s.set("SLUICE_DEMO_SIMULATOR", s.provider)
	s.set("SLUICE_HOLD_PROBE_INTERVAL", holdProbeInterval)
	s.say("provider", "simulated, on %s", s.provider)
	return nil
}

func (s *stack) startAPI() error {
	s.set("PORT", s.port)
	s.set("SLUICE_HOST", "127.0.0.1")
	s.set("SLUICE_AUTH", "off")
	c, err := s.start("api", "api")
	if err != nil {
		return err
	}
	s.watch(c)
	s.client = newClient("http://" + net.JoinHostPort("127.0.0.1", s.port))
	ctx, cancel := context.WithTimeout(s.ctx, readyTimeout)
	defer cancel()
	if err := s.client.ready(ctx); err != nil {
		return fmt.Errorf("the API is not ready: %w\n%s", err, c.lastWords())
	}
	why := ""
	if s.port != defaultPort && s.env("PORT") == "" {
		why = ", because port " + defaultPort + " is taken"
	}
	s.say("api", "on %s%s", s.client.base, why)
	return nil
}

// choosePort takes the wanted port, or the usual one, or a free one if that is taken.
func choosePort(wanted, usual string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", usual))
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func (s *stack) startWorkers(n int) error {
	s.set("SLUICE_DRAIN_LIMIT", drainLimit)
	for i := range n {
		c, err := s.start(fmt.Sprintf("worker-%d", i+1), "worker")
		if err != nil {
			return err
		}
		s.watch(c)
	}
	s.say("workers", "%d", n)
	return nil
}

// start runs one of our programs, with its log in a file.
func (s *stack) start(name, program string, args ...string) (*child, error) {
	path := filepath.Join(s.bin, program)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s is missing: run make build", path)
	}
	c, err := startChild(name, filepath.Join(s.logs, name+".log"), s.environ(), path, args...)
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	return c, nil
}

// watch makes a child's end ours: a demo with a part missing is none.
func (s *stack) watch(c *child) {
	go func() {
		<-c.ended
		s.cancel(c.failure())
	}()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// provider is its behaviour while no fault is on: it limits at more than twice the load, so that a backlog can go.
var provider = llmtest.Script{LatencyMS: 250, JitterMS: 400, RPM: 1000, WindowMS: 10_000}

const hiccups = 100 // one call of so many ends badly

const maxCalls = 5_000_000 // that the provider's log keeps: all of them

// rig is the whole system, and what breaks it.
type rig struct {
	dir        string // programs, configuration, logs; kept if anything is wrong
	root       string // of the checkout
	pooled     bool   // through PgBouncer
	quick      bool
	postgres   *postgres
	bouncer    *process
	poolerPort string
	simulator  *llmtest.Server
	network    network
	wires      []wire
	fleet      *fleet
	ledger     *ledger
	load       *load
	meter      *meter
	vigil      vigil
	random     *rand.Rand // of the plan

	background sync.WaitGroup
	stopLoad   context.CancelFunc
	stopRest   context.CancelFunc
}

// newRig builds and starts everything, under load. close ends it, also where this failed.
func newRig(ctx context.Context, o options) (r *rig, err error) {
	r = &rig{pooled: o.pooled, network: newNetwork(), ledger: newLedger(), meter: &meter{window: o.window()}, quick: o.quick,
		random: rand.New(rand.NewPCG(o.seed, 1)), stopLoad: func() {}, stopRest: func() {}}
	if r.dir, err = os.MkdirTemp("", "sluice-chaos-"); err != nil {
		return r, err
	}
	for _, step := range []func(context.Context) error{r.build, o.prepare(r), r.startServers, r.startPooler, r.seats, r.startFleet} {
		if err := step(ctx); err != nil {
			return r, err
		}
	}
	r.startLoad(ctx, o)
	return r, nil
}

func (r *rig) build(ctx context.Context) error {
	out, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sluicedev/sluice")
	if err != nil {
		return fmt.Errorf("where is Sluice's module? run this inside the chaos folder: %w", err)
	}
	r.root = strings.TrimSpace(out)
	if _, err := output(ctx, "go", "-C", r.root, "build", "-o", r.dir, "./cmd/api", "./cmd/worker"); err != nil {
		return err
	}
	// PgBouncer runs as another user, and has a folder in this one.
	return errors.Join(os.Chmod(r.dir, 0o711), os.WriteFile(filepath.Join(r.dir, "config.yaml"), []byte(config), 0o644))
}

func (r *rig) startServers(ctx context.Context) (err error) {
	if r.postgres, err = startPostgres(ctx, r.network); err != nil {
		return err
	}
	r.simulator, err = llmtest.Listen("127.0.0.1:0", llmtest.WithScript(provider), llmtest.MaxCalls(maxCalls), llmtest.Decide(r.hiccup))
	return err
}

// hiccup has some calls end badly after a good beginning while the provider is well. Were they refused, which comes at once,
// then of many calls that start at one moment, after a standstill, the first few to end would all be failures: that is a run of
// them, and the breaker would rightly open.
func (r *rig) hiccup(call llmtest.Call) string {
	if mode := r.simulator.Script().Mode; mode != "" && mode != "healthy" || crc32.ChecksumIEEE([]byte(call.ID))%hiccups != 0 {
		return ""
	}
	return "failed"
}

// seats makes the places and the wires of all processes.
func (r *rig) seats(context.Context) error {
	r.fleet = &fleet{dir: r.dir, deadAfter: shortLease, urls: r.databaseURLs}
	for n := range workers {
		s := &seat{name: fmt.Sprintf("worker-%d", n+1), program: "worker"}
		if err := r.connect(s); err != nil {
			return err
		}
		r.fleet.workers = append(r.fleet.workers, s)
	}
	for n := range apis {
		s := &seat{name: fmt.Sprintf("api-%d", n+1), program: "api"}
		err := r.connect(s)
		if err == nil {
			s.port, err = freePort()
		}
		if err != nil {
			return err
		}
		r.fleet.apis = append(r.fleet.apis, s)
	}
	return nil
}

// connect lays the wires of a seat.
func (r *rig) connect(s *seat) error {
	direct := r.postgres.url.Host
	database := direct
	if r.bouncer != nil {
		database = r.poolerAddress()
	}
	for _, to := range []struct {
		wire    *wire
		name    string
		address string
	}{
		{&s.database, "database", database},
		{&s.direct, "direct", direct},
		{&s.provider, "provider", strings.TrimPrefix(r.simulator.URL(), "http://")},
	} {
		var err error
		if *to.wire, err = r.network.wire(s.name+"-"+to.name, to.address); err != nil {
			return err
		}
		r.wires = append(r.wires, *to.wire)
	}
	return nil
}

// databaseURLs are a seat's two ways to the database.
func (r *rig) databaseURLs(s *seat) []string {
	through := func(w wire, query string) string {
		u := *r.postgres.url
		u.Host = w.Listen
		return u.String() + query
	}
	if !r.pooled {
		return []string{"DATABASE_URL=" + through(s.database, ""), "SLUICE_DIRECT_DATABASE_URL=" + through(s.direct, "")}
	}
	return []string{"DATABASE_URL=" + through(s.database, "&default_query_exec_mode=cache_describe"),
		"SLUICE_DIRECT_DATABASE_URL=" + through(s.direct, "")}
}

func (r *rig) startFleet(ctx context.Context) error {
	migrate := exec.CommandContext(ctx, filepath.Join(r.dir, "api"), "migrate")
	migrate.Env = r.fleet.environ(r.fleet.apis[0])
	if out, err := migrate.CombinedOutput(); err != nil {
		return fmt.Errorf("api migrate: %w\n%s", err, out)
	}
	if err := r.postgres.watch(ctx); err != nil {
		return err
	}
	for _, s := range r.fleet.all() {
		if err := r.fleet.start(s); err != nil {
			return err
		}
	}
	for _, s := range r.fleet.apis {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) startLoad(ctx context.Context, o options) {
	var urls []string
	for _, s := range r.fleet.apis {
		urls = append(urls, s.url())
	}
	r.load = newLoad(urls, o.rate, rand.New(rand.NewPCG(o.seed, 2)), r.ledger)
	loading, stopLoad := context.WithCancel(ctx)
	rest, stopRest := context.WithCancel(ctx)
	var clients sync.WaitGroup
	clients.Go(func() { r.load.run(loading) })
	r.background.Go(func() { r.meter.run(rest, r.postgres.admin) })
	r.background.Go(func() { r.vigil.run(rest) })
	r.background.Go(func() { r.postgres.snapshot(rest) })
	r.stopLoad = func() { stopLoad(); clients.Wait() }
	r.stopRest = func() { stopRest(); r.background.Wait() }
}

// close ends all that was started. The folder stays where keep is true, with the server's log and the offenders in it.
func (r *rig) close(keep bool) error {
	r.stopRest() // before the processes, so that a session of ours ends in good order
	if r.fleet != nil {
		r.fleet.kill() // which breaks off the clients' requests
	}
	r.stopLoad()
	if r.bouncer != nil {
		r.bouncer.kill()
	}
	for _, w := range r.wires {
		w.Stop()
	}
	var errs []error
	if r.simulator != nil {
		errs = append(errs, r.simulator.Close())
	}
	if r.postgres != nil {
		if keep {
			errs = append(errs, r.keepLog())
		}
		errs = append(errs, r.postgres.close())
	}
	if !keep && r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// keepLog appends the server's log to those of its predecessors: stopping it removes it.
func (r *rig) keepLog() error {
	content, err := os.ReadFile(r.postgres.Log())
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(r.dir, "postgres.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// output runs a program to its end.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, words.String())
	}
	return string(out), nil
}

// sleep waits. False: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

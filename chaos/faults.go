package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// fault is one way in which the world goes wrong. inject does it and returns what undoes it after a while.
type fault struct {
	name   string
	hold   span
	quick  bool // part of the small round, for as short as it may be
	spares bool // all workers live through it, and are not to be taken for dead
	blamed bool // it is the provider's, whose breaker may open
	inject func(context.Context, *rig) (heal, error)

	prepare func(*rig, context.Context) error // before the load begins
}

// heal undoes a fault and says what it did.
type heal func(context.Context) (note string, err error)

// span is how long a fault lasts: something in between, drawn from the seed.
type span struct{ least, most time.Duration }

func seconds(least, most float64) span {
	return span{time.Duration(least * float64(time.Second)), time.Duration(most * float64(time.Second))}
}

func (s span) draw(random *rand.Rand) time.Duration {
	return s.least + time.Duration(random.Int64N(int64(s.most-s.least)+1))
}

// skip is the error of a fault that cannot be had here.
type skip string

func (s skip) Error() string { return string(s) }

// skipped gives the reason for an error to pass. In CI none does: what is missing there is a failure.
func skipped(err error) (reason string, ok bool) {
	s, ok := err.(skip)
	return string(s), ok && os.Getenv("CI") != "true"
}

var faults = []fault{
	{name: "kill worker", quick: true, inject: killWorker},
	{name: "kill, default lease", hold: seconds(45, 45), inject: killDefaultLease},
	{name: "zombie", quick: true, hold: seconds(8, 14), inject: zombie},
	{name: "zombie, then a pause", hold: seconds(8, 12), inject: pausedZombie},
	{name: "kill api", hold: seconds(1, 3), inject: killAPI},
	{name: "postgres crash", quick: true, hold: seconds(2, 8), spares: true, inject: halt(syscall.SIGKILL)},
	{name: "postgres restart", hold: seconds(1, 5), spares: true, inject: halt(syscall.SIGINT)},
	{name: "terminate backends", quick: true, hold: seconds(3, 12), inject: terminateBackends},
	{name: "read-only", hold: seconds(6, 12), spares: true, inject: readOnly},
	{name: "failover", hold: seconds(6, 12), spares: true, inject: failover},
	{name: "database half-open", quick: true, hold: seconds(8, 14), inject: halfOpenDatabase},
	{name: "database slow", hold: seconds(8, 14), inject: onDatabase(slow(250, 100, 60))},
	{name: "database resets", hold: seconds(6, 10), inject: onDatabase(reset(300))},
	{name: "provider half-open", hold: seconds(9, 12), blamed: true, inject: onProvider(silent)},
	{name: "provider slow", hold: seconds(8, 12), blamed: true, inject: onProvider(slow(1500, 500, 20))},
	{name: "provider resets", hold: seconds(4, 8), blamed: true, inject: onProvider(reset(200))},
	{name: "connections used up", hold: seconds(8, 14), inject: hoardConnections},
	{name: "notifications lost", hold: seconds(8, 12), inject: loseNotifications},
	{name: "clock", hold: seconds(8, 12), prepare: (*rig).buildSkewed, inject: wrongClocks},
	{name: "rolling restart", quick: true, inject: rollingRestart},
	{name: "disk full", hold: seconds(4, 8), spares: true, inject: diskFull},
	{name: "provider outage", hold: seconds(8, 15), blamed: true, inject: mode("down")},
	{name: "429 storm", hold: seconds(5, 10), blamed: true, inject: cutLimit},
	{name: "429 without headers", hold: seconds(5, 10), blamed: true, inject: mode("rate_limited")},
}

func healed(note string) heal { return func(context.Context) (string, error) { return note, nil } }

const runningSQL = `select count(*) from jobs where state = 'running' and worker like $1`

// running is how many jobs the process on a seat runs.
func (r *rig) running(ctx context.Context, s *seat) (n int, err error) {
	err = r.postgres.admin.QueryRow(ctx, runningSQL, s.like()).Scan(&n)
	return n, err
}

// busy picks a worker and waits until it runs jobs.
func (r *rig) busy(ctx context.Context) (s *seat, jobs int, err error) {
	s = pick(r.random, r.fleet.workers, 1)[0]
	for deadline := time.Now().Add(persistFor); ; {
		if jobs, err = r.running(ctx, s); err != nil || jobs > 0 {
			return s, jobs, err
		}
		if time.Now().After(deadline) {
			return nil, 0, fmt.Errorf("%s got no job in %v", s.name, persistFor)
		}
		sleep(ctx, 10*time.Millisecond) // another process gives no event
	}
}

func killWorker(ctx context.Context, r *rig) (heal, error) {
	s, jobs, err := r.busy(ctx)
	if err != nil {
		return nil, err
	}
	s.process.kill()
	return healed(fmt.Sprintf("%s, which ran %d jobs", s.name, jobs)), r.fleet.start(s)
}

// killDefaultLease lasts until the others must have found out. They do so by their own setting, so all get the default.
func killDefaultLease(ctx context.Context, r *rig) (heal, error) {
	r.fleet.deadAfter = defaultLease
	if err := r.fleet.roll(ctx, r.fleet.workers...); err != nil {
		return nil, err
	}
	s, jobs, err := r.busy(ctx)
	if err != nil {
		return nil, err
	}
	s.process.kill()
	dead := s.like()
	if err := r.fleet.start(s); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		left := 0
		if err := r.postgres.admin.QueryRow(ctx, runningSQL, dead).Scan(&left); err != nil {
			return "", err
		}
		if left > 0 {
			r.fleet.note(fmt.Errorf("%d jobs of %s still run, 45 s after it was killed", left, s.name))
		}
		r.fleet.deadAfter = shortLease
		return fmt.Sprintf("%s, which ran %d jobs", s.name, jobs), r.fleet.roll(ctx, r.fleet.workers...)
	}, nil
}

const lostSQL = `select count(*) from attempts where outcome = 'lost' and worker like $1`

// zombie freezes a worker whose calls are under way. Their answers arrive while it sleeps, so that they are the first thing
// it finds when it wakes up.
func zombie(ctx context.Context, r *rig) (heal, error) {
	r.simulator.Hold()
	defer r.simulator.Release()
	s, jobs, err := r.busy(ctx)
	if err != nil {
		return nil, err
	}
	sleep(ctx, time.Second) // for the calls of the claimed jobs to arrive, and more of them
	s.process.signal(syscall.SIGSTOP)
	if jobs, err = r.running(ctx, s); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		lost := 0
		err := r.postgres.admin.QueryRow(ctx, lostSQL, s.like()).Scan(&lost)
		s.process.signal(syscall.SIGCONT)
		return fmt.Sprintf("%s, which ran %d jobs; %d lost", s.name, jobs, lost), err
	}, nil
}

// pausedZombie is a zombie whose jobs nobody else takes: they wait, under the lease that it had, for an operator's pause to end.
func pausedZombie(ctx context.Context, r *rig) (heal, error) {
	wake, err := zombie(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := r.operate(ctx, "pause"); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (note string, err error) {
		if note, err = wake(ctx); err != nil {
			return note, err
		}
		sleep(ctx, 2*time.Second) // for it to write what it brings
		return note, r.operate(ctx, "resume")
	}, nil
}

// operate is an operator's hand on the breaker.
func (r *rig) operate(ctx context.Context, verb string) error {
	var answer map[string]any
	if status := r.load.post(ctx, "/api/ai/upstreams/openai%3Agpt-5/"+verb, nil, "", &answer); status != http.StatusOK {
		return fmt.Errorf("%s answered %d", verb, status)
	}
	return nil
}

// killAPI kills one that has just got requests with keys, which are sent again.
func killAPI(ctx context.Context, r *rig) (heal, error) {
	s := pick(r.random, r.fleet.apis, 1)[0]
	for range 20 {
		r.load.begin(context.WithoutCancel(ctx), r.load.twins)
	}
	sleep(ctx, time.Duration(r.random.IntN(20))*time.Millisecond)
	s.process.kill()
	return func(ctx context.Context) (string, error) {
		if err := r.fleet.start(s); err != nil {
			return "", err
		}
		return s.name, s.ready(ctx)
	}, nil
}

func halt(how syscall.Signal) func(context.Context, *rig) (heal, error) {
	return func(_ context.Context, r *rig) (heal, error) {
		r.postgres.Halt(how)
		return func(ctx context.Context) (string, error) { return "", r.postgres.Resume(ctx) }, nil
	}
}

const terminateEvery = 500 * time.Millisecond

func terminateBackends(ctx context.Context, r *rig) (heal, error) {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	total := 0
	go func() {
		for {
			n, err := r.postgres.terminate(ctx, "true")
			total += n
			if err != nil || !sleep(ctx, terminateEvery) {
				ended <- err
				return
			}
		}
	}()
	return func(context.Context) (string, error) {
		stop()
		err := <-ended
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return fmt.Sprintf("%d sessions", total), err
	}, nil
}

// readOnly makes the server what a demoted primary is: it answers reads and refuses writes, in the sessions that there are.
func readOnly(ctx context.Context, r *rig) (heal, error) {
	return func(ctx context.Context) (string, error) {
		return "", r.set(ctx, `alter system reset default_transaction_read_only`)
	}, r.set(ctx, `alter system set default_transaction_read_only = on`)
}

// set changes a setting of the running server.
func (r *rig) set(ctx context.Context, sql string) error {
	return errors.Join(r.postgres.exec(ctx, sql), r.postgres.exec(ctx, `select pg_reload_conf()`))
}

// on gives wires a toxic.
func on(wires []wire, toxics []toxic, note string) (heal, error) {
	for _, w := range wires {
		if err := w.add(toxics...); err != nil {
			return nil, err
		}
	}
	return func(context.Context) (string, error) {
		for _, w := range wires {
			w.heal()
		}
		return note, nil
	}, nil
}

// halfOpenDatabase cuts off half of the workers. The others are to find them dead; they are to find out that they may be.
func halfOpenDatabase(_ context.Context, r *rig) (heal, error) {
	chosen := pick(r.random, r.fleet.workers, 2)
	var wires []wire
	for _, s := range chosen {
		wires = append(wires, s.database, s.direct)
	}
	return on(wires, silent, names(chosen))
}

func onDatabase(toxics []toxic) func(context.Context, *rig) (heal, error) {
	return func(_ context.Context, r *rig) (heal, error) {
		var wires []wire
		for _, s := range r.fleet.workers {
			wires = append(wires, s.database, s.direct)
		}
		return on(wires, toxics, "all workers")
	}
}

func onProvider(toxics []toxic) func(context.Context, *rig) (heal, error) {
	return func(_ context.Context, r *rig) (heal, error) {
		chosen := pick(r.random, r.fleet.workers, 2)
		return on([]wire{chosen[0].provider, chosen[1].provider}, toxics, names(chosen))
	}
}

const connectionsLeft = 4

func hoardConnections(ctx context.Context, r *rig) (heal, error) {
	release, n, err := r.postgres.hoard(ctx, connectionsLeft)
	if err != nil {
		return nil, err
	}
	ended, err := r.postgres.terminate(ctx, "random() < 0.7")
	if err != nil {
		release()
		return nil, err
	}
	again, more, err := r.postgres.hoard(ctx, connectionsLeft) // what they left
	if err != nil {
		again = func() {} // they were faster
	}
	return func(context.Context) (string, error) {
		release()
		again()
		return fmt.Sprintf("%d held, %d of ours ended", n+more, ended), nil
	}, nil
}

func loseNotifications(_ context.Context, r *rig) (heal, error) {
	for _, s := range r.fleet.all() {
		s.direct.Stop()
	}
	return func(context.Context) (string, error) {
		for _, s := range r.fleet.all() {
			if err := s.direct.Start(); err != nil {
				return "", err
			}
		}
		return "", nil
	}, nil
}

func rollingRestart(ctx context.Context, r *rig) (heal, error) {
	return healed("all"), r.fleet.roll(ctx, r.fleet.all()...)
}

func diskFull(ctx context.Context, r *rig) (heal, error) {
	return func(ctx context.Context) (string, error) { return "", r.full(ctx, "disable") }, r.full(ctx, "enable")
}

func (r *rig) full(ctx context.Context, verb string) error {
	return errors.Join(
		r.postgres.exec(ctx, `alter table jobs `+verb+` trigger chaos_full`),
		r.postgres.exec(ctx, `alter table attempts `+verb+` trigger chaos_full`))
}

func mode(name string) func(context.Context, *rig) (heal, error) {
	return func(_ context.Context, r *rig) (heal, error) {
		r.simulator.SetMode(name)
		return func(context.Context) (string, error) {
			r.simulator.SetMode("healthy")
			return "", nil
		}, nil
	}
}

// cutRPM is a 25th of the provider's limit, and a tenth of the load.
const cutRPM = 40

// cutLimit has the provider refuse nine of ten calls, with the headers that real ones send with it.
func cutLimit(_ context.Context, r *rig) (heal, error) {
	r.simulator.Set(func(s *llmtest.Script) { s.RPM = cutRPM })
	return func(context.Context) (string, error) {
		refused := r.simulator.Counts().ByStatus[http.StatusTooManyRequests]
		r.simulator.Set(func(s *llmtest.Script) { s.RPM = provider.RPM })
		return fmt.Sprintf("%d refusals so far", refused), nil
	}, nil
}

package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// Limits and rhythms that no setting changes.
const (
	maxClaim       = 500                     // jobs in one claim
	headEvery      = 500 * time.Millisecond  // between two claims that start at the head of a line
	tickEvery      = time.Second             // breakers, upkeep
	lookEvery      = time.Second             // at the queue and the others' beats, at most; a tenth of DeathAfter if that is less
	idleEvery      = 1600 * time.Millisecond // the same while nobody waits and nothing runs
	newsLast       = time.Second             // how long after a look at a breaker a call may start by it
	statementLimit = 10 * time.Second        // for each statement to Postgres
	recordLimit    = 10 * time.Second        // for the ends of the last calls when the worker stops
	abandonLimit   = time.Second             // after that, for handlers that do not heed their context
	reportPause    = 50 * time.Millisecond   // from a failure to its report, so that failures at one moment are one report
	localRun       = 3                       // failures in a row that stop this worker's starts until they are reported
	promotePause   = 50 * time.Millisecond   // between two promotions, so that jobs due at one moment are one statement
	promptDelay    = 10 * time.Second        // jobs delayed by less are promoted to the moment, others by the tick
	maxPromote     = 20                      // statements of a promotion, of a thousand jobs each
	unclearFor     = 2 * time.Minute         // how long a claim or a permit whose reply was lost may still turn up
	maxResult      = 16 << 20                // bytes of a provider's answer that are kept
	maxError       = 4 << 10                 // bytes of last_error
	maxIncomplete  = 1 << 10                 // bytes of why an answer stops early
	maxCareful     = 30 * time.Second        // the longest pause between calls after refusals, unconfirmed
	acceptedFor    = 20 * time.Second        // after a success before the next one is news where a credential is refused
	repairEvery    = 20                      // ticks
	compactEvery   = 60                      // ticks
)

// unconfirmed is Config.Unconfirmed where nobody sets it.
const unconfirmed = 15 * time.Second

// Config is what a worker needs to know.
type Config struct {
	Types       jobtype.Set
	Providers   map[string]llm.Provider // by the configured upstream's name
	Concurrency int                     // calls in flight at most
	DeathAfter  time.Duration           // a worker whose beat stands still for so long is dead
	DrainLimit  time.Duration           // how long running calls may go on when the worker is told to stop
	Share       float64                 // of the slots that one line may hold; 0: max(1/2, 1/lines)
	ListenURL   string                  // a direct connection for notifications; "": poll only
	Unconfirmed time.Duration           // before a job tries again whose credential or model was refused, unconfirmed; 0: 15 s
	Owed        func()                  // is called when a look saw webhooks that are due; it must return at once. nil: nobody sends them
	Hooks       Hooks
	Log         *slog.Logger
}

// Worker claims and runs jobs. Make it with New, add handlers, then Run it once.
type Worker struct {
	cfg       Config
	db, pulse pg.DB
	upstreams *upstream.Store
	handlers  map[string]Handler
	life      atomic.Pointer[life] // the present one
}

// New gives a worker on db. pulse is a pool of its own, for beats alone; upstreams is the fleet's, under its rules. It
// has the built-in handler for every type of the configuration that is not custom.
func New(db, pulse pg.DB, upstreams *upstream.Store, cfg Config) *Worker {
	cfg.Unconfirmed, cfg.Hooks = cmp.Or(cfg.Unconfirmed, unconfirmed), cfg.Hooks.orSilent()
	w := &Worker{cfg: cfg, db: db, pulse: pulse, upstreams: upstreams, handlers: map[string]Handler{}}
	for _, t := range cfg.Types.All() {
		if !t.Custom {
			w.handlers[t.Name] = w.prompt(t)
		}
	}
	return w
}

// Handle registers a handler for a type that the configuration marks `handler: custom`. The worker claims only types that
// it has a handler for. It panics on any other type, as a mistake of the program: call it before Run.
func (w *Worker) Handle(jobType string, h Handler) {
	t, ok := w.cfg.Types.Lookup(jobType)
	if !ok || !t.Custom {
		panic(fmt.Sprintf("worker: %q is not a type that the configuration marks `handler: custom`", jobType))
	}
	w.handlers[jobType] = h
}

// Why a call's context ended.
var (
	errStopping   = errors.New("the worker stops")
	errCancelled  = errors.New("the job was cancelled")
	errNotStarted = errors.New("the breaker, the lease or the job changed before the call started")
	errBuried     = errors.New("the worker was given up for dead")
)

// Run claims and runs jobs until ctx ends; then it stops claiming, lets running calls go on for DrainLimit, gives the
// rest back uncharged, and returns nil. It returns an error only if it cannot start.
func (w *Worker) Run(ctx context.Context) error {
	for first := true; ; first = false {
		l, err := w.join(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil && first:
			return fmt.Errorf("worker: %w", err)
		case err != nil:
			w.cfg.Log.Error("cannot join the fleet again; trying on", "error", err)
			if !pause(ctx, tickEvery) {
				return nil
			}
			continue
		}
		w.life.Store(l)
		if err := l.live(ctx); !errors.Is(err, errBuried) {
			return err
		}
		w.cfg.Log.Warn("was given up for dead while it did not beat; its jobs are others' now; starting afresh", "worker_id", l.id)
	}
}

// join registers the worker under a new name.
func (w *Worker) join(ctx context.Context) (*life, error) {
	l := newLife(w, newID())
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	if err := w.upstreams.Ensure(ctx, l.upstreamNames()...); err != nil {
		return nil, err
	}
	l.beaten = time.Now()
	types, lines := slices.Sorted(maps.Keys(w.handlers)), slices.Sorted(maps.Keys(l.lines))
	return l, l.queue.Join(ctx, l.id, types, lines, w.cfg.Concurrency)
}

// newID names a worker so that a person finds its process, and never twice.
func newID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "worker"
	}
	return fmt.Sprintf("%.60s/%d/%s", strings.ToValidUTF8(host, "?"), os.Getpid(), uuid.NewString()[:8])
}

// pause waits; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (w *Worker) newQueue() *queue.Queue { return queue.New(w.db, w.cfg.Types) }

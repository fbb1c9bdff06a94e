package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
)

// life is a worker under one name: from the moment it joined until it stopped, or was buried.
type life struct {
	*Worker
	id       string
	queue    *queue.Queue
	log      *slog.Logger
	watch    *watch
	recorder *recorder
	reporter *reporter
	states   *queue.Bell // tells whoever watches jobs that some have changed

	calls   context.Context // of every call; ends when the worker must drop them
	drop    context.CancelCauseFunc
	records context.Context // of what is written about calls; ends when that is given up
	giveUp  context.CancelFunc
	wake    chan struct{}  // the claimer has something to look at
	soon    chan struct{}  // there is something to look at in the queue
	news    chan struct{}  // of a breaker
	due     chan struct{}  // a delayed job has fallen due
	work    sync.WaitGroup // attempts whose ends are not written

	mu        sync.Mutex
	lines     map[string]*line
	free      int // slots
	running   map[queue.Lease]*attempt
	todo      []*attempt              // of them, calls that nobody has begun to make
	left      map[uuid.UUID]int       // jobs of a claim that have not ended
	done      []uuid.UUID             // claims whose jobs have all ended
	unclear   map[uuid.UUID]time.Time // claims whose reply was lost, and when
	early     map[queue.Lease]bool    // cancels of jobs whose claim is under way; nil: none is
	untold    map[uuid.UUID]untold    // how probes ended that Postgres could not be told of
	beaten    time.Time               // when the last acknowledged beat was sent
	leaving   bool                    // no call starts any more
	fleet     int                     // living workers, this one included
	estimates map[string]estimate     // of calls, by type
}

func newLife(w *Worker, id string) *life {
	l := &life{
		Worker: w, id: id, queue: w.newQueue(), log: w.cfg.Log.With("worker_id", id),
		watch: newWatch(w.cfg.DeathAfter),
		wake:  make(chan struct{}, 1), soon: make(chan struct{}, 1), news: make(chan struct{}, 1), due: make(chan struct{}, 1),
		lines: lines(w.cfg.Types, w.handlers, w.cfg.Providers), free: w.cfg.Concurrency,
		running: map[queue.Lease]*attempt{}, left: map[uuid.UUID]int{}, unclear: map[uuid.UUID]time.Time{},
		untold: map[uuid.UUID]untold{}, estimates: map[string]estimate{},
	}
	l.cfg.Hooks.tell(l.lines)
	l.calls, l.drop = context.WithCancelCause(context.Background())
	l.records, l.giveUp = context.WithCancel(context.Background())
	l.recorder = newRecorder(l)
	l.states = queue.NewStateBell(w.db, l.log)
	l.reporter = newReporter(l)
	return l
}

func (l *life) upstreamNames() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(l.lines)) {
		if l.lines[name].paced {
			names = append(names, name)
		}
	}
	return names
}

// live runs until ctx ends or the worker is buried. The order of the end: no more claims; calls end or are dropped; what
// they brought is written; then the pulse stops and the name is given up.
func (l *life) live(ctx context.Context) error {
	l.log.Info("worker started", "concurrency", l.cfg.Concurrency, "lines", slices.Sorted(maps.Keys(l.lines)))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer l.giveUp()
	context.AfterFunc(l.calls, stop)    // buried: stop claiming too
	context.AfterFunc(ctx, l.noneStart) // a claim under way may still bring jobs

	nudge(l.soon)
	upkeep, stopUpkeep := context.WithCancel(context.Background()) // outlives the stop: the drain needs a pulse
	var crew sync.WaitGroup
	for _, run := range []func(context.Context){l.beat, l.guard, l.promote, l.tick, l.recorder.run, l.reporter.run, l.states.Run, l.listen} {
		crew.Go(func() { run(upkeep) })
	}
	l.claim(ctx)
	buried := context.Cause(l.calls) != nil
	l.drain(buried)
	stopUpkeep()
	crew.Wait()
	if buried {
		return errBuried
	}
	l.leave()
	l.drop(nil)
	return nil
}

// drain waits for the running calls, and drops them when the limit is over. What they brought is written for a while
// longer; then rescue has to find it.
func (l *life) drain(buried bool) {
	ended := make(chan struct{})
	go func() {
		l.work.Wait()
		close(ended)
	}()
	if !buried && !within(ended, l.cfg.DrainLimit) {
		l.log.Info("the drain limit is over; calls in flight are given back", "calls", l.inFlight())
		l.drop(errStopping)
	}
	if within(ended, recordLimit) {
		return
	}
	l.log.Error("the last ends could not be written; the jobs will be found and run again", "jobs", l.inFlight())
	l.giveUp()
	if !within(ended, abandonLimit) {
		l.log.Error("handlers that do not heed their context are left to themselves", "jobs", l.inFlight())
	}
}

// noneStart keeps what is claimed from now on from starting: it is given back.
func (l *life) noneStart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = true
}

// within waits for a channel to close; false: it took longer than the limit.
func within(closed <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-closed:
		return true
	case <-t.C:
		return false
	}
}

// leave clears up after claims and probes for the last time and gives up the name. Whatever fails here, rescue finds.
func (l *life) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), statementLimit)
	defer cancel()
	l.settle(ctx)
	if err := l.queue.Leave(ctx, l.id); err != nil {
		l.log.Warn("could not sign off; the others will notice", "error", err)
		return
	}
	l.log.Info("worker stopped")
}

func (l *life) inFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.running)
}

// listen learns of new work, cancels and breakers' changes at once instead of at the next tick.
func (l *life) listen(ctx context.Context) {
	if l.cfg.ListenURL == "" {
		return
	}
	channels := []string{queue.ReadyChannel, queue.CancelChannel, upstreamChannel}
	err := pg.Listen(ctx, l.cfg.ListenURL, channels, l.heard, func(err error) {
		if err != nil && ctx.Err() == nil {
			l.log.Warn("notifications are lost for now; polling goes on", "error", err)
		}
		nudge(l.soon)
		nudge(l.news)
	})
	if err != nil && ctx.Err() == nil {
		l.log.Warn("no notifications; polling goes on", "error", err)
	}
}

func (l *life) heard(channel, payload string) {
	switch channel {
	case queue.ReadyChannel:
		l.waits(payload)
	case queue.CancelChannel:
		if payload == l.id {
			nudge(l.soon)
		}
	default:
		nudge(l.news)
	}
}

// changed tells whoever watches jobs, in a while and without waiting for it, that so many have changed.
func (l *life) changed(jobs int) {
	if jobs > 0 {
		l.states.Ring("")
	}
}

// nudge wakes whoever waits on the channel, now or when it next does.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

const upstreamChannel = upstream.Channel

// hearts is how many beat for a worker, in turn. While one waits on a connection that is stuck, another moves the counter;
// to cut that one short instead would only add a new connection to whatever made it slow.
const hearts = 2

// beat moves the worker's counter until ctx ends.
func (l *life) beat(ctx context.Context) {
	every := l.beatEvery()
	var all sync.WaitGroup
	for n := range hearts {
		all.Go(func() {
			if pause(ctx, time.Duration(n)*every) {
				l.heart(ctx, hearts*every)
			}
		})
	}
	all.Wait()
}

// beatEvery is the time between two beats.
func (l *life) beatEvery() time.Duration { return l.cfg.DeathAfter / 5 }

func (l *life) heart(ctx context.Context, every time.Duration) {
	pulse := queue.New(l.pulse, l.cfg.Types)
	for pause(ctx, jitter(every)) {
		sent := time.Now()
		alive, err := bounded(ctx, func(ctx context.Context) (bool, error) { return pulse.Beat(ctx, l.id) })
		switch {
		case err != nil:
			if ctx.Err() == nil {
				l.log.Warn("no beat", "error", err)
			}
		case !alive:
			l.drop(errBuried)
			return
		default:
			l.acknowledged(sent)
		}
	}
}

// acknowledged notes a beat that was sent then.
func (l *life) acknowledged(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.beaten) {
		l.beaten = sent
	}
}

// fresh tells whether the others cannot have taken this worker for dead yet: no call may start otherwise. The caller
// holds the mutex.
func (l *life) fresh() bool { return time.Since(l.beaten) < l.cfg.DeathAfter*4/5 }

func (l *life) isFresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fresh()
}

// tick does once a second, until ctx ends, what is neither a beat nor a look. News of a breaker bring the read of it forward.
func (l *life) tick(ctx context.Context) {
	var after uuid.UUID // where Repair goes on
	due := time.NewTimer(0)
	defer due.Stop()
	for n := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-l.news:
			l.step(ctx, "upstreams", l.readUpstreams)
		case <-due.C:
			if !l.idle() {
				l.step(ctx, "upstreams", l.readUpstreams)
			}
			l.settle(ctx)
			l.upkeep(ctx, n, &after)
			n++
			due.Reset(jitter(tickEvery))
		}
	}
}

// promote queues delayed jobs that have fallen due: this worker's own to the moment, anybody's after a look.
func (l *life) promote(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.due:
		}
		l.step(ctx, "promotion", l.promoteDue)
		pause(ctx, promotePause)
	}
}

func (l *life) promoteDue(ctx context.Context) error {
	for range maxPromote {
		n, err := l.queue.Promote(ctx)
		if err != nil || n == 0 {
			return err
		}
		l.cfg.Hooks.Swept(Promoted, n)
		l.changed(n)
		nudge(l.soon) // to see in which lines they wait
	}
	return nil
}

func (l *life) readUpstreams(ctx context.Context) error {
	if len(l.upstreamNames()) == 0 {
		return nil
	}
	sent := time.Now()
	statuses, err := l.upstreams.List(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range statuses {
		if line := l.lines[s.Name]; line != nil {
			line.learn(s)
			line.readAt = sent
			l.tellParked(line)
			if s.Suspected {
				nudge(l.reporter.wake) // successes are news now
			}
		}
	}
	nudge(l.wake)
	return nil
}

// tellParked logs once that a line is parked, and once that it is not any more. The caller holds the mutex.
func (l *life) tellParked(line *line) {
	parked := line.status.Parked(line.credential)
	if parked == line.parked || line.status.State != string(breaker.Closed) {
		return
	}
	line.parked = parked
	if parked {
		l.log.Warn("this worker's credential is refused while others' is accepted: it leaves the jobs to them, but for a call now and then; "+
			"check its API key (OPENAI_API_KEY, or the upstream's api_key_env)", "upstream", line.name, "every", l.upstreams.HoldFor())
		return
	}
	l.log.Info("this worker's credential is not refused any more", "upstream", line.name)
}

// settle clears up after probes whose end could not be told, and after claims: those whose jobs have all ended, and those
// whose reply was lost.
func (l *life) settle(ctx context.Context) {
	l.tellProbes(ctx)
	l.step(ctx, "claims", l.forget)
	l.mu.Lock()
	var unclear []uuid.UUID
	for id := range l.unclear {
		unclear = append(unclear, id)
	}
	l.mu.Unlock()
	for _, id := range unclear {
		l.step(ctx, "a claim whose reply was lost", func(ctx context.Context) error {
			found, err := l.queue.GiveBack(ctx, l.id, id)
			if found {
				l.states.Ring("")
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if err == nil && (found || time.Since(l.unclear[id]) > unclearFor) {
				delete(l.unclear, id)
			}
			return err
		})
	}
}

func (l *life) forget(ctx context.Context) error {
	l.mu.Lock()
	done := l.done
	l.done = nil
	l.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	err := l.queue.Forget(ctx, done...)
	if err != nil {
		l.mu.Lock()
		l.done = append(l.done, done...)
		l.mu.Unlock()
	}
	return err
}

// upkeep is the rest of the fleet's work that anybody may do.
func (l *life) upkeep(ctx context.Context, n int, after *uuid.UUID) {
	if n%compactEvery == 0 {
		l.step(ctx, "compaction", func(ctx context.Context) error {
			_, err := l.queue.Compact(ctx)
			return err
		})
	}
	if n%repairEvery == 0 {
		l.step(ctx, "repair", func(ctx context.Context) error {
			next, found, err := l.queue.Repair(ctx, *after)
			if err == nil {
				*after = next
			}
			if found > 0 {
				l.cfg.Hooks.Swept(Stranded, found)
				l.log.Error("jobs were stranded and are in line again: a bug, or an UPDATE by hand", "jobs", found)
			}
			return err
		})
	}
}

// step does one thing of a tick within its time. What fails is logged and comes again with the next tick.
func (l *life) step(ctx context.Context, what string, do func(context.Context) error) {
	_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
	if err != nil && ctx.Err() == nil {
		l.log.Warn("a part of the tick failed; it comes again", "part", what, "error", err)
	}
}

func bounded[T any](ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	return do(ctx)
}

// jitter keeps a fleet from doing everything at the same moment: up to a tenth more or less.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

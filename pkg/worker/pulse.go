package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

const upstreamChannel = upstream.Channel

// beat moves the worker's counter until ctx ends.
func (l *life) beat(ctx context.Context) {
	pulse := queue.New(l.pulse, l.cfg.Types)
	every := min(beatEvery, l.cfg.DeathAfter/5)
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
			l.mu.Lock()
			l.beaten = sent
			l.mu.Unlock()
		}
	}
}

// fresh tells whether the others cannot have taken this worker for dead yet: no call may start otherwise. The caller
// holds the mutex.
func (l *life) fresh() bool { return time.Since(l.beaten) < l.cfg.DeathAfter*4/5 }

// tick does what is due once a second until ctx ends. A nudge brings only the look forward.
func (l *life) tick(ctx context.Context) {
	var after uuid.UUID // where Repair goes on
	due := time.NewTimer(0)
	defer due.Stop()
	for n := 1; ; {
		select {
		case <-ctx.Done():
			return
		case <-l.soon:
			l.look(ctx)
		case <-due.C:
			l.look(ctx)
			l.settle(ctx)
			l.upkeep(ctx, n, &after)
			n++
			due.Reset(jitter(tickEvery))
		}
	}
}

// look reads what the fleet knows and who waits, and wakes the claimer.
func (l *life) look(ctx context.Context) {
	l.step(ctx, "cancels", func(ctx context.Context) error {
		leases, err := l.queue.Cancels(ctx, l.id)
		for _, lease := range leases {
			l.cancel(lease)
		}
		return err
	})
	l.step(ctx, "upstreams", l.readUpstreams)
	l.step(ctx, "waiting lines", func(ctx context.Context) error {
		waiting, err := l.queue.Waiting(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		for name := range waiting {
			if line := l.lines[name]; line != nil {
				line.hot = true
			}
		}
		return err
	})
	nudge(l.wake)
}

func (l *life) readUpstreams(ctx context.Context) error {
	statuses, err := l.upstreams.List(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range statuses {
		if line := l.lines[s.Name]; line != nil {
			line.learn(s)
		}
	}
	return nil
}

// settle clears up after claims: those whose jobs have all ended, and those whose reply was lost.
func (l *life) settle(ctx context.Context) {
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

// upkeep is the fleet's work that anybody may do.
func (l *life) upkeep(ctx context.Context, n int, after *uuid.UUID) {
	l.step(ctx, "rescue", l.rescue)
	l.step(ctx, "promotion", counted(l.queue.Promote))
	if n%expireEvery == 0 {
		l.step(ctx, "expiry", counted(l.queue.Expire))
	}
	if n%compactEvery == 0 {
		l.step(ctx, "compaction", counted(l.queue.Compact))
	}
	if n%repairEvery == 0 {
		l.step(ctx, "repair", func(ctx context.Context) error {
			next, found, err := l.queue.Repair(ctx, *after)
			if err == nil {
				*after = next
			}
			if found > 0 {
				l.log.Error("jobs were stranded and are in line again: a bug, or an UPDATE by hand", "jobs", found)
			}
			return err
		})
	}
}

// rescue buries the dead and takes their jobs.
func (l *life) rescue(ctx context.Context) error {
	beats, err := l.queue.Beats(ctx)
	if err != nil {
		l.watch.restart()
		return err
	}
	for id, beat := range l.watch.look(beats, time.Now()) {
		buried, err := l.queue.Bury(ctx, id, beat)
		if err != nil {
			return err
		}
		if buried {
			l.log.Warn("a worker is dead; its jobs are queued again", "dead", id)
			if err := l.upstreams.FreeAll(ctx, id, l.id); err != nil {
				return err
			}
		}
	}
	for {
		n, err := l.queue.Rescue(ctx)
		if err != nil || n == 0 {
			return err
		}
		l.log.Warn("lost jobs were rescued", "jobs", n)
	}
}

// step does one thing of a tick within its time. What fails is logged and comes again with the next tick.
func (l *life) step(ctx context.Context, what string, do func(context.Context) error) {
	_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
	if err != nil && ctx.Err() == nil {
		l.log.Warn("a part of the tick failed; it comes again", "part", what, "error", err)
	}
}

func counted(sweep func(context.Context) (int, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := sweep(ctx)
		return err
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

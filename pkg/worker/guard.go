package worker

import (
	"context"
	"time"

	"github.com/sluicedev/sluice/pkg/breaker"
)

// guard looks at the queue and the others' beats until ctx ends: at its own rhythm, so that nothing that takes long makes a gap
// in the watch, and at once when it is nudged.
func (l *life) guard(ctx context.Context) {
	for {
		timer := time.NewTimer(l.lookAgain())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-l.soon:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		l.step(ctx, "the look at the queue", l.look)
		if l.calls.Err() != nil {
			return // it holds nothing any more, and judges nobody
		}
	}
}

// lookAgain is the time until the next look: longer while there is nothing to do, as an idle fleet should cost little.
func (l *life) lookAgain() time.Duration {
	every := lookEvery
	if l.idle() {
		every = idleEvery
	}
	return jitter(min(every, l.cfg.DeathAfter/10))
}

// idle tells whether nobody waits and nothing runs, as far as this worker knows.
func (l *life) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line.hot || line.paced && !line.known {
			return false
		}
	}
	return len(l.running) == 0
}

// look sees in one statement what there is to do, and has it done.
func (l *life) look(ctx context.Context) error {
	sight, err := l.queue.Look(ctx, l.id)
	if err != nil {
		l.watch.restart()
		return err
	}
	if err := l.bury(ctx, sight.Beats); err != nil || l.calls.Err() != nil {
		return err
	}
	for _, lease := range sight.Cancels {
		l.cancel(lease)
	}
	l.waits(sight.Waiting...)
	if sight.Due {
		nudge(l.due)
	}
	if sight.Owed && l.cfg.Owed != nil {
		l.cfg.Owed()
	}
	if sight.Late {
		l.step(ctx, "expiry", l.expire)
	}
	if sight.Lost {
		l.step(ctx, "rescue", l.rescue)
	}
	if l.probing() {
		l.step(ctx, "permits of the dead", func(ctx context.Context) error { return l.upstreams.FreeLost(ctx, l.id) })
	}
	return nil
}

// waits wakes the claimer for lines in which somebody is queued. A copy of a breaker that nobody needed for a while is
// read anew.
func (l *life) waits(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range lines {
		line := l.lines[name]
		if line == nil {
			continue
		}
		line.hot = true
		if line.paced && time.Since(line.readAt) > newsLast {
			nudge(l.news)
		}
	}
	nudge(l.wake)
}

// probing tells whether somebody's permit for a probe may stand in the way of jobs that wait.
func (l *life) probing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line.hot && line.paced && line.known && (line.status.Cold || line.status.State != string(breaker.Closed)) {
			return true
		}
	}
	return false
}

// bury takes the dead off the list. Who cannot beat itself does not judge, nor later by what it saw meanwhile: then it is
// Postgres that stands still, or takes no writes, and all beats with it. Half the window leaves room for the others' last
// beat before that and their first one after it.
func (l *life) bury(ctx context.Context, beats map[string]int64) error {
	if _, ok := beats[l.id]; !ok {
		l.drop(errBuried) // before its own jobs are rescued here
		return nil
	}
	l.mu.Lock()
	l.fleet = len(beats)
	unbeaten := time.Since(l.beaten)
	l.mu.Unlock()
	if unbeaten > l.cfg.DeathAfter/2 {
		l.watch.restart()
		return nil
	}
	for id, beat := range l.watch.look(beats, time.Now()) {
		buried, err := l.queue.Bury(ctx, id, beat)
		if err != nil {
			return err
		}
		if buried {
			l.cfg.Hooks.Swept(Buried, 1)
			l.log.Warn("a worker is dead; its jobs are queued again", "dead", id)
		}
	}
	return nil
}

func (l *life) expire(ctx context.Context) error {
	n, err := l.queue.Expire(ctx)
	if n > 0 {
		l.cfg.Hooks.Swept(Expired, n)
		l.changed(n)
		nudge(l.soon) // there may be more: an outage of days ends the wait of many at once
	}
	return err
}

// rescue takes the jobs of the dead, and those past their deadline.
func (l *life) rescue(ctx context.Context) error {
	for {
		n, err := l.queue.Rescue(ctx)
		if err != nil || n == 0 {
			return err
		}
		l.cfg.Hooks.Swept(Rescued, n)
		l.log.Warn("lost jobs were rescued", "jobs", n)
		l.changed(n)
		nudge(l.soon) // to see in which lines they wait
	}
}

package worker

import (
	"context"
	"time"
)

// guard watches the others' beats and rescues the jobs of the dead until ctx ends. It has a rhythm of its own, so that a
// tick that takes long makes no gap in the watch.
func (l *life) guard(ctx context.Context) {
	for pause(ctx, jitter(min(guardEvery, l.cfg.DeathAfter/10))) {
		l.step(ctx, "burials", l.bury)
		if l.calls.Err() != nil {
			return // it holds nothing any more, and judges nobody
		}
		l.step(ctx, "rescue", l.rescue)
		l.step(ctx, "permits of the dead", func(ctx context.Context) error { return l.upstreams.FreeLost(ctx, l.id) })
	}
}

// bury takes the dead off the list. Who cannot beat itself does not judge, nor later by what it saw meanwhile: then it is
// Postgres that stands still, or takes no writes, and all beats with it. Half the window leaves room for the others' last
// beat before that and their first one after it.
func (l *life) bury(ctx context.Context) error {
	beats, err := l.queue.Beats(ctx)
	if err != nil {
		l.watch.restart()
		return err
	}
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
			l.log.Warn("a worker is dead; its jobs are queued again", "dead", id)
		}
	}
	return nil
}

// rescue takes the jobs of the dead, and those past their deadline.
func (l *life) rescue(ctx context.Context) error {
	for {
		n, err := l.queue.Rescue(ctx)
		if err != nil || n == 0 {
			return err
		}
		l.log.Warn("lost jobs were rescued", "jobs", n)
		nudge(l.soon)
	}
}

package worker

import (
	"context"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// claim claims and starts jobs until ctx ends. It is the only goroutine that does: one batch on one connection is faster
// than several that race.
func (l *life) claim(ctx context.Context) {
	for ctx.Err() == nil {
		if l.claimRound(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		}
	}
}

// claimRound asks once for every line in which somebody may be waiting. False: there was nothing to get.
func (l *life) claimRound(ctx context.Context) (progress bool) {
	for _, line := range l.lines {
		if n := l.room(line); n > 0 && l.claimLine(ctx, line, n) {
			progress = true
		}
	}
	return progress
}

// room is how many jobs of a line may be claimed now.
func (l *life) room(line *line) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !line.hot || !l.fresh() || !line.open() {
		if line.hot && l.free > 0 && l.fresh() && line.wantsProbe(time.Now()) {
			return 1
		}
		return 0
	}
	n := min(l.free, l.share()-line.running)
	if line.status.Parked(line.credential) {
		return line.trial(n, l.upstreams.HoldFor(), time.Now())
	}
	return line.careful(n, time.Now())
}

// share is how many slots one line may hold, so that calls of one upstream that hang do not fill the worker.
func (l *life) share() int {
	part := l.cfg.Share
	if part == 0 {
		part = max(0.5, 1/float64(len(l.lines)))
	}
	return int(math.Ceil(part * float64(l.cfg.Concurrency))) // up: a slot that no line may have is wasted
}

// claimLine claims up to n jobs of a line and starts them.
func (l *life) claimLine(ctx context.Context, line *line, n int) (progress bool) {
	if l.isOpen(line) {
		if n = l.permitted(ctx, line, n); n == 0 {
			return false // it stays hot
		}
	}
	l.mu.Lock()
	line.claiming = true
	defer l.claimed(line)
	gate, probe := line.gate(), !line.open()
	line.probing = probe
	line.hot = probe // until the reply says that there is more; whoever rings meanwhile sets it again
	l.mu.Unlock()
	if probe {
		return l.claimProbe(ctx, line)
	}
	n = min(n, maxClaim) // of what is permitted: the next round claims the rest
	jobs := l.claimJobs(ctx, line, gate, n)
	if len(jobs) == n {
		l.mu.Lock()
		line.hot = true
		l.mu.Unlock()
	}
	l.start(line, gate, jobs...)
	return len(jobs) > 0
}

func (l *life) claimed(line *line) {
	l.mu.Lock()
	line.claiming = false
	l.mu.Unlock()
}

// claimProbe gets the permit for the one call that may be made, and a job to make it with: another one than the last
// time, while there is one.
func (l *life) claimProbe(ctx context.Context, line *line) (started bool) {
	defer func() {
		if !started {
			l.mu.Lock()
			line.hot, line.probing = false, false
			l.mu.Unlock()
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementLimit)
	defer cancel()
	status, probe, err := l.upstreams.Grant(ctx, line.name, l.id, line.credential, line.longest+l.cfg.DeathAfter)
	if err != nil {
		l.log.Warn("could not ask for a probe", "upstream", line.name, "error", err)
		if probe != uuid.Nil { // granted, for all we know: the reply was lost, or the statement is still under way
			l.remember(probe, untold{line, l.freed(line, probe), time.Now().Add(unclearFor)})
		}
		return false
	}
	l.learn(line, status)
	if probe == uuid.Nil {
		return false
	}
	gate := queue.Gate{Upstream: line.name, Generation: status.Generation, Probe: probe, Except: status.ProbeJob}
	jobs := l.claimJobs(ctx, line, gate, 1)
	if len(jobs) == 0 && gate.Except != uuid.Nil {
		gate.Except = uuid.Nil
		jobs = l.claimJobs(ctx, line, gate, 1)
	}
	if len(jobs) == 0 {
		l.endProbe(ctx, line, probe, l.freed(line, probe))
		return false
	}
	if err := l.upstreams.Took(ctx, line.name, l.id, probe, jobs[0].ID); err != nil {
		l.log.Warn("could not note the probe's job", "upstream", line.name, "error", err)
	}
	l.start(line, gate, jobs...)
	return true
}

func (l *life) isOpen(line *line) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return line.open()
}

func (l *life) claimJobs(ctx context.Context, line *line, gate queue.Gate, n int) []queue.Claimed {
	id, sent := uuid.New(), time.Now()
	var mark queue.Mark // of a probe, for which any job will do
	l.mu.Lock()
	l.early = map[queue.Lease]bool{}
	if gate.Probe == uuid.Nil {
		mark = line.from(sent)
	}
	l.mu.Unlock()
	// A claim is not stopped half way: its jobs would be stranded until the next tick.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementLimit)
	defer cancel()
	jobs, err := l.queue.Claim(ctx, queue.Claim{
		ID: id, Worker: l.id, Line: line.name, Types: line.types, Timeouts: line.timeouts, Grace: l.cfg.DeathAfter, Beat: l.beatEvery(),
		Limit: n, Gate: gate, Mark: mark,
	})
	l.changed(len(jobs))
	if err == nil {
		l.cfg.Hooks.Claimed(len(jobs), time.Since(sent))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	early := l.early
	l.early = nil
	if err != nil {
		l.log.Warn("a claim failed; what it may have claimed is given back", "line", line.name, "error", err)
		l.unclear[id] = time.Now()
		return nil
	}
	if len(jobs) > 0 {
		l.left[id] = len(jobs)
		line.claimedAt = time.Now()
	}
	line.mark.Pass(jobs...)
	if len(jobs) < n && mark != (queue.Mark{}) {
		l.wakeAt(line, line.headAt.Add(headEvery)) // for who waits before the mark
	}
	for _, job := range jobs {
		a := &attempt{job: job, line: line, claim: id, checked: sent}
		a.cancelled = early[a.lease()]
		l.running[a.lease()] = a
	}
	l.free -= len(jobs)
	line.running += len(jobs)
	return jobs
}

func (l *life) learn(line *line, s upstream.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line.learn(s)
}

package worker

import (
	"context"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/quota"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// A probe's permit ends once: with an answer, or given back. While it is out nobody else may call, so an end that
// Postgres cannot be told of now is remembered, and told by a later tick.

// untold is the end of a probe that Postgres does not know of yet.
type untold struct {
	line  *line
	end   probeEnd
	until time.Time // it is told again until then: its grant may still be under way
}

type probeEnd func(context.Context) (upstream.Status, error)

// answered ends the attempt's probe with what it met and what its headers said (nil: nothing). False: it has none, or its probe has ended. From here on the call is
// an ordinary one.
func (l *life) answered(a *attempt, answer breaker.Answer, seen *quota.Observation) bool {
	probe := l.takeProbe(a)
	if probe == uuid.Nil {
		return false
	}
	answer.Probe, answer.Job, answer.Credential = probe, a.job.ID, a.line.credential
	status, ok := l.endProbe(l.records, a.line, probe, func(ctx context.Context) (upstream.Status, error) {
		return l.upstreams.Answered(ctx, a.line.name, l.id, answer, seen)
	})
	if ok {
		l.mu.Lock()
		a.generation = status.Generation
		l.mu.Unlock()
	}
	return true
}

// unprobe gives the attempt's permit back, if it has one: its call says nothing about the provider.
func (l *life) unprobe(a *attempt) {
	if probe := l.takeProbe(a); probe != uuid.Nil {
		l.endProbe(l.records, a.line, probe, l.freed(a.line, probe))
	}
}

// takeProbe takes the permit from the attempt: whoever gets it ends it.
func (l *life) takeProbe(a *attempt) (probe uuid.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	probe, a.probe = a.probe, uuid.Nil
	return probe
}

// generationOf is what the attempt's answer counts in. A handler's own goroutine may be ending its probe just now.
func (l *life) generationOf(a *attempt) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return a.generation
}

func (l *life) freed(line *line, probe uuid.UUID) probeEnd {
	return func(ctx context.Context) (upstream.Status, error) {
		return l.upstreams.Free(ctx, line.name, l.id, probe)
	}
}

// endProbe tells Postgres how a probe ended, now or later.
func (l *life) endProbe(ctx context.Context, line *line, probe uuid.UUID, end probeEnd) (status upstream.Status, ok bool) {
	status, err := bounded(ctx, end)
	if err != nil {
		l.log.Warn("the end of a probe could not be told; it comes again with the tick", "upstream", line.name, "error", err)
		l.remember(probe, untold{line: line, end: end})
		return status, false
	}
	l.mu.Lock()
	line.probing = false
	l.mu.Unlock()
	l.told(line, probe, status)
	return status, true
}

func (l *life) remember(probe uuid.UUID, u untold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u.line.probing = false
	l.untold[probe] = u
}

// told notes that Postgres knows how a probe ended.
func (l *life) told(line *line, probe uuid.UUID, status upstream.Status) {
	l.mu.Lock()
	line.learn(status)
	if !time.Now().Before(l.untold[probe].until) {
		delete(l.untold, probe)
	}
	l.mu.Unlock()
	nudge(l.wake)
}

// tellProbes tells what could not be told before. An end that was told after all, or a permit that is over, changes nothing.
func (l *life) tellProbes(ctx context.Context) {
	l.mu.Lock()
	all := maps.Clone(l.untold)
	l.mu.Unlock()
	for probe, u := range all {
		status, err := bounded(ctx, u.end)
		if err != nil {
			l.log.Warn("the end of a probe could still not be told", "upstream", u.line.name, "error", err)
			continue
		}
		l.told(u.line, probe, status)
	}
}

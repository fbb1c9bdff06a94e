package worker

import (
	"context"
	"time"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// Hooks are told what a worker does, for metrics and traces. Each may be nil, may be called by many goroutines at once, and must return
// at once.
type Hooks struct {
	// Attempts is asked once for each type in each line what to tell of the ends of its attempts: so that no end has to look
	// up who is to be told. waited is from when the job could have started to its claim, took is the call; 0: none was made.
	Attempts func(line, jobType string) func(end queue.End, waited, took time.Duration)

	// Claimed is told of each claim's statement that was answered: how many jobs it brought, and how long it took.
	Claimed func(jobs int, took time.Duration)

	// Recorded is told of each statement that wrote ends, and how many of them came too late to count.
	Recorded func(ends, late int, took time.Duration)

	// Calling is told that an attempt's call begins, and gives the context to make it under; what it returns is told how the
	// attempt ended. It is for traces.
	Calling func(ctx context.Context, job queue.Claimed) (context.Context, func(end queue.End))

	// TraceID names the trace of a context that Calling gave, for the log.
	TraceID func(ctx context.Context) string

	// Swept is told what a sweep found.
	Swept func(s Sweep, found int)
}

// Sweep names a part of the fleet's upkeep.
type Sweep string

const (
	Buried   Sweep = "buried"   // workers whose beat stood still
	Rescued  Sweep = "rescued"  // jobs of the dead, and of workers that hang
	Promoted Sweep = "promoted" // delayed jobs that fell due
	Expired  Sweep = "expired"  // jobs whose max_wait was over
	Stranded Sweep = "stranded" // jobs that were in no line: a bug, or an UPDATE by hand
)

// orSilent has nobody told where there is no hook.
func (h Hooks) orSilent() Hooks {
	if h.Attempts == nil {
		h.Attempts = func(string, string) func(queue.End, time.Duration, time.Duration) {
			return func(queue.End, time.Duration, time.Duration) {}
		}
	}
	if h.Claimed == nil {
		h.Claimed = func(int, time.Duration) {}
	}
	if h.Recorded == nil {
		h.Recorded = func(int, int, time.Duration) {}
	}
	if h.Swept == nil {
		h.Swept = func(Sweep, int) {}
	}
	return h
}

// tell gives each line whom to tell of its attempts' ends.
func (h Hooks) tell(lines map[string]*line) {
	for _, l := range lines {
		l.ended = map[string]func(queue.End, time.Duration, time.Duration){}
		for _, jobType := range l.types {
			l.ended[jobType] = h.Attempts(l.name, jobType)
		}
	}
}

// Load is what a worker holds at a moment.
type Load struct {
	Slots   int // calls in flight at most
	Running int // attempts whose ends are not written
	Lines   []LineLoad
}

// LineLoad is what a worker holds of one line.
type LineLoad struct {
	Name    string
	Running int
	Permits int              // bought and not spent yet
	Paced   bool             // it is an upstream, and Status tells of it
	Status  *upstream.Status // the worker's copy; nil: not read yet
}

// Load tells what the worker holds now. It asks nobody. A worker that does not run holds nothing.
func (w *Worker) Load() Load {
	load := Load{Slots: w.cfg.Concurrency}
	l := w.life.Load()
	if l == nil {
		return load
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	load.Running = len(l.running)
	for _, line := range l.lines {
		of := LineLoad{Name: line.name, Running: line.running, Permits: line.purse.requests, Paced: line.paced}
		if line.known {
			status := line.status
			of.Status = &status
		}
		load.Lines = append(load.Lines, of)
	}
	return load
}

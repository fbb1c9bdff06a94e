package worker_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/llm/openai"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

// told collects what hooks are told.
type told struct {
	mu       sync.Mutex
	asked    []string // lines and types
	outcomes []queue.Outcome
	waited   time.Duration
	calls    int // that took time
	claimed  int
	recorded int
	promoted int
}

func (o *told) hooks() worker.Hooks {
	locked := func(do func()) { o.mu.Lock(); defer o.mu.Unlock(); do() }
	return worker.Hooks{
		Attempts: func(line, jobType string) func(queue.End, time.Duration, time.Duration) {
			locked(func() { o.asked = append(o.asked, line+" "+jobType) })
			return func(end queue.End, waited, took time.Duration) {
				locked(func() {
					o.outcomes = append(o.outcomes, end.Outcome)
					o.waited = max(o.waited, waited)
					if took > 0 {
						o.calls++
					}
				})
			}
		},
		Claimed:  func(jobs int, _ time.Duration) { locked(func() { o.claimed += jobs }) },
		Recorded: func(ends, late int, _ time.Duration) { locked(func() { o.recorded += ends - late }) },
		Swept: func(s worker.Sweep, found int) {
			locked(func() {
				if s == worker.Promoted {
					o.promoted += found
				}
			})
		},
	}
}

func TestHooksAreToldOfEveryAttempt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.Decide(func(call llmtest.Call) string {
		if call.Number == 2 {
			return "error"
		}
		return "healthy"
	}))
	first := f.enqueue("ask", hello, 1)[0]
	if _, err := f.db.Exec(t.Context(), `update jobs set created_at = created_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	var o told
	f.start(func(c *worker.Config) { c.Hooks = o.hooks() }, nil)
	f.untilState(first, queue.Done)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done) // at its second try
	f.until("all of it is told", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.recorded == 3 && o.promoted > 0 })
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.asked) != 1 || o.asked[0] != "openai:gpt-5 ask" {
		t.Errorf("asked for %q", o.asked)
	}
	if len(o.outcomes) != 3 || o.outcomes[0] != queue.OK || o.outcomes[1] != queue.Error || o.outcomes[2] != queue.OK || o.calls != 3 {
		t.Errorf("told of %q, and of %d calls", o.outcomes, o.calls)
	}
	if o.claimed != 3 || o.promoted != 1 {
		t.Errorf("told of %d claimed and %d promoted", o.claimed, o.promoted)
	}
	if o.waited < time.Hour || o.waited > time.Hour+time.Minute {
		t.Errorf("the longest wait is told as %s", o.waited)
	}
}

func TestLoadTellsWhatAWorkerHolds(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	w := worker.New(f.db, f.db, upstream.New(f.db), worker.Config{
		Types: f.types, Concurrency: 20, DeathAfter: 30 * time.Second, Log: slog.New(slog.DiscardHandler),
		Providers: map[string]llm.Provider{"openai": openai.New(openai.Config{BaseURL: f.sim.BaseURL(), APIKey: "sk-test"})},
	})
	if load := w.Load(); load.Slots != 20 || len(load.Lines) > 0 {
		t.Errorf("before it runs: %+v", load)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	f.until("the slots are free again", func() bool { return w.Load().Running == 0 })
	load := w.Load()
	if load.Slots != 20 || len(load.Lines) != 1 || load.Lines[0].Name != "openai:gpt-5" || !load.Lines[0].Paced || load.Lines[0].Status.State != "closed" {
		t.Errorf("got %+v", load)
	}
}

package worker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/worker"
)

// A drain of thousands of jobs costs ten notifications a second, none of a job's own, and the last one comes after the
// last end.
func TestADrainIsNotifiedSeldom(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{{Name: "own", Custom: true, Priority: 5, MaxAttempts: 3, Timeout: time.Minute}})
	var heard atomic.Int64
	listening := make(chan struct{}, 1)
	again := make(chan struct{}, 1)
	go pg.Listen(t.Context(), f.url, []string{queue.StateChannel}, func(_, payload string) {
		heard.Add(1)
		if payload != "" {
			t.Errorf("a notification carries %q", payload)
		}
		select {
		case again <- struct{}{}:
		default:
		}
	}, func(err error) {
		if err == nil {
			listening <- struct{}{}
		}
	})
	<-listening
	const jobs = 5000
	f.enqueue("own", `{"n":1}`, jobs)
	if n := heard.Load(); n != 0 {
		t.Errorf("%d notifications of enqueues", n)
	}
	begun := time.Now()
	f.start(func(c *worker.Config) { c.Concurrency = 500 }, map[string]worker.Handler{
		"own": func(context.Context, worker.Job) (worker.Result, error) { return worker.Result{}, nil },
	})
	for deadline := time.After(patience); f.count(`select count(*) from jobs where state = 'done'`) < jobs; {
		select {
		case <-again:
		case <-deadline:
			t.Fatal("no notification tells of the last end")
		}
	}
	took := time.Since(begun)
	if most := int64(took/(100*time.Millisecond)) + 2; heard.Load() < 2 || heard.Load() > most {
		t.Errorf("%d notifications in %s; want 2 to %d", heard.Load(), took, most)
	}
	t.Logf("%d jobs in %s: %d notifications", jobs, took, heard.Load())
}

package worker_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/worker"
)

// Whatever the worker was doing when it was told to stop, nothing of it is left when Run returns. Not parallel: it counts
// all goroutines of the process.
func TestNothingIsLeftOfAWorker(t *testing.T) {
	types := []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}
	t.Run("idle", func(t *testing.T) {
		f := newFleet(t, types)
		before := goleak.IgnoreCurrent()
		db, pulse := f.openPool(f.url), f.openPool(f.url)
		stop := f.startOn(db, pulse, nil, nil)
		f.untilEnded(f.enqueue("ask", hello, 3))
		stop()
		nothingLeft(t, before, db, pulse)
	})
	t.Run("with calls in flight", func(t *testing.T) {
		f := newFleet(t, types)
		before := goleak.IgnoreCurrent()
		db, pulse := f.openPool(f.url), f.openPool(f.url)
		stop := f.startOn(db, pulse, func(c *worker.Config) { c.DrainLimit = 0 }, nil)
		f.untilEnded(f.enqueue("ask", hello, 1))
		f.sim.Hold()
		f.enqueue("ask", hello, 10)
		if err := f.sim.AwaitHeld(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		stop()
		f.sim.Release()
		nothingLeft(t, before, db, pulse)
	})
	t.Run("while Postgres is away", func(t *testing.T) {
		f := newFleet(t, types)
		l := f.link()
		before := goleak.IgnoreCurrent()
		db, pulse := f.openPool(l.through), f.openPool(l.through)
		stop := f.startOn(db, pulse, func(c *worker.Config) { c.DrainLimit, c.ListenURL = 0, l.through }, nil)
		f.untilEnded(f.enqueue("ask", hello, 1))
		f.sim.SetMode("down")
		f.sim.Hold()
		ids := f.enqueue("ask", hello, 10)
		if err := f.sim.AwaitHeld(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		l.sever()
		f.sim.Release()
		stop()
		nothingLeft(t, before, db, pulse)
		f.sim.SetMode("healthy")
		l.mend()
		f.start(func(c *worker.Config) { c.DeathAfter = 3 * time.Second }, nil)
		f.untilEnded(ids)
	})
	t.Run("buried while it drains", func(t *testing.T) {
		f := newFleet(t, types)
		before := goleak.IgnoreCurrent()
		db, pulse := f.openPool(f.url), f.openPool(f.url)
		stop := f.startOn(db, pulse, func(c *worker.Config) { c.DrainLimit = time.Minute }, nil)
		f.untilEnded(f.enqueue("ask", hello, 1))
		f.sim.Hold()
		id := f.enqueue("ask", hello, 1)[0]
		if err := f.sim.AwaitHeld(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		go func() {
			if _, err := f.db.Exec(t.Context(), `delete from workers`); err != nil {
				t.Error(err)
			}
		}()
		stop() // returns although the call never ends: its beat tells it that the job is not its any more
		f.sim.Release()
		nothingLeft(t, before, db, pulse)
		f.start(nil, nil)
		f.untilState(id, queue.Done)
	})
}

func nothingLeft(t *testing.T, before goleak.Option, pools ...interface{ Close() }) {
	t.Helper()
	for _, p := range pools {
		p.Close()
	}
	// Connections of the provider's client and of the test's own pool live on for a while; they are nobody's of the worker.
	// What closes them may take its time on a busy machine; what leaks stays.
	find := func() error {
		return goleak.Find(before,
			goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
			goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
			goleak.IgnoreAnyFunction("github.com/sluicedev/sluice/pkg/worker_test.pipe"),
			goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).backgroundHealthCheck"),
			goleak.IgnoreAnyFunction("github.com/jackc/pgx/v5/pgxpool.(*Pool).createIdleResources"))
	}
	err := find()
	for deadline := time.Now().Add(patience / 4); err != nil && time.Now().Before(deadline); err = find() {
	}
	if err != nil {
		t.Error(err)
	}
}

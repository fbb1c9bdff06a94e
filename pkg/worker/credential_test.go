package worker_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/llm/openai"
	"github.com/sluicedev/sluice/pkg/worker"
)

const (
	gpt5   = "openai:gpt-5"
	oldKey = "sk-of-last-year"
)

// withKey makes a worker's calls with a key of its own. How the provider takes them is up to sim. A job that it is refused
// comes back soon, but later than the worker's next call, which so is made with another one: that call waits for one second,
// and if it comes so late that it meets the same job, the next one waits for two.
func withKey(sim *llmtest.Server, key string) func(*worker.Config) {
	return func(c *worker.Config) {
		c.Unconfirmed = 5 * time.Second
		c.Providers = map[string]llm.Provider{"openai": openai.New(openai.Config{BaseURL: sim.BaseURL(), APIKey: key})}
	}
}

// refusing is the provider as a worker with a bad key meets it.
func refusing(t *testing.T) *llmtest.Server {
	return llmtest.Start(t, llmtest.WithScript(llmtest.Script{Mode: "bad_key"}))
}

func (f *fleet) parked(key string) bool { return f.upstream(gpt5).Parked(llm.Fingerprint(key)) }

// untilWorked enqueues jobs until something has come of it, and then waits for the last of them.
func (f *fleet) untilWorked(what string, ok func() bool) {
	f.t.Helper()
	var ids []uuid.UUID
	f.until(what, func() bool {
		if f.count(`select count(*) from jobs where finished_at is null`) < 20 {
			ids = append(ids, f.enqueue("ask", hello, 10)...)
		}
		return ok()
	})
	f.untilEnded(ids)
}

// unharmed checks that every job is done at its one charged try.
func (f *fleet) unharmed() {
	f.t.Helper()
	if n := f.count(`select count(*) from jobs where state <> 'done' or attempts <> 1`); n != 0 {
		f.t.Errorf("%d jobs are not done at their one charged try", n)
	}
}

func (f *fleet) unmoved() {
	f.t.Helper()
	if n := f.count(`select count(*) from breaker_events`); n != 0 {
		f.t.Errorf("the breaker moved %d times", n)
	}
}

// resume makes it time for a probe.
func (f *fleet) resume() {
	f.t.Helper()
	if _, err := f.upstreams.Resume(f.t.Context(), gpt5, "operator:test"); err != nil {
		f.t.Fatal(err)
	}
}

// logged is a log that a test reads.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

func TestAWorkerWithAnOldKeyLeavesTheJobsToTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.rules.HoldFor = time.Hour
	f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 1))
	wrong := refusing(t)
	f.start(withKey(wrong, oldKey), nil)
	f.untilWorked("it is parked", func() bool { return f.parked(oldKey) })
	f.untilEnded(f.enqueue("ask", hello, 500))
	f.unharmed()
	f.unmoved()
	if n := wrong.Count(); n > 4 {
		t.Errorf("%d calls were made with the old key", n)
	}
}

// Once in a while a parked worker looks whether its key is good again. Until it is, its jobs are the others' at once.
func TestAParkedWorkerIsBackWhenItsKeyIsGoodAgain(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.rules.HoldFor = 2 * time.Second
	stopGood := f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 1))
	wrong, log := refusing(t), &logged{}
	f.start(func(c *worker.Config) {
		withKey(wrong, oldKey)(c)
		c.Log = slog.New(slog.NewTextHandler(log, nil))
	}, nil)
	f.untilWorked("it is parked, and says so", func() bool { return f.parked(oldKey) && log.count("refused while") > 0 })
	// The first refusal is confirmed by nothing yet, nor is a second one if others' successes were told in between.
	delayed := func() int64 { return f.count(`select count(*) from jobs where scheduled_at is not null`) }
	before, unconfirmed := wrong.Count(), delayed()
	f.untilWorked("it has tried again, twice", func() bool { return wrong.Count() >= before+2 })
	if n := delayed(); unconfirmed > 2 || n > unconfirmed {
		t.Errorf("%d jobs were delayed for the old key, %d of them while it was parked", n, n-unconfirmed)
	}
	wrong.SetMode("healthy")
	f.untilWorked("it is back, and says so", func() bool { return !f.parked(oldKey) && log.count("not refused any more") > 0 })
	stopGood()
	f.untilEnded(f.enqueue("ask", hello, 50)) // one every two seconds would take too long
	f.unharmed()
	f.unmoved()
	if parked, back := log.count("refused while"), log.count("not refused any more"); parked != 1 || back != 1 {
		t.Errorf("parked and back were logged %d and %d times", parked, back)
	}
	if log.count(oldKey) > 0 || log.count(llm.Fingerprint(oldKey)) > 0 {
		t.Error("the key or its fingerprint was logged")
	}
}

// Alone, a worker with an old key stops everything. One with a good key need not wait until it is time for a probe.
func TestAWorkerWithAGoodKeyOpensWhatAnOldKeyShut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.rules.HoldFor = time.Hour
	wrong := refusing(t)
	f.start(withKey(wrong, oldKey), nil)
	ids := f.enqueue("ask", hello, 12)
	f.until("the breaker is open", func() bool { return f.upstream(gpt5).Reason == "credentials" })
	f.start(nil, nil)
	f.untilEnded(ids)
	f.unharmed()
	if s := f.upstream(gpt5); s.State != "closed" || !f.parked(oldKey) {
		t.Errorf("%+v", s)
	}
	if n := wrong.Count(); n > 4 {
		t.Errorf("%d calls were made with the old key", n)
	}
}

// With bad keys alone the breaker is open and stays so: each key but the first has one probe at once, and from then on
// there is one whenever it is time, whoever makes it.
func TestBadKeysAloneProbeOnceWhenItIsTime(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.rules.HoldFor = time.Hour
	wrong := refusing(t)
	var all []*looker
	for _, key := range []string{"sk-one", "sk-two", "sk-three", "sk-three"} {
		db := f.looker()
		f.startOn(db, f.pool(f.url), withKey(wrong, key), nil)
		all = append(all, db)
	}
	ids := f.enqueue("ask", hello, 12)
	probes := func() int64 {
		return f.count(`select count(*) from breaker_events where from_state = 'half-open' and to_state = 'open'`)
	}
	f.until("two probes at once", func() bool { return probes() >= 2 })
	for n := range int64(3) {
		f.resume()
		f.until("a probe when it is time", func() bool { return probes() >= 3+n })
	}
	f.untilLooked(all...) // long enough to do what they should not
	if n := probes(); n != 5 {
		t.Errorf("%d probes, want two at once and three when it was time", n)
	}
	if n := f.count(`select count(*) from breaker_events where to_state = 'closed'`); n != 0 {
		t.Errorf("the breaker closed %d times", n)
	}
	if n := f.count(`select count(*) from attempts where charged`); n != 0 {
		t.Errorf("%d tries were charged", n)
	}
	if n := wrong.Count(); n > 24 {
		t.Errorf("%d calls with bad keys", n)
	}
	wrong.SetMode("healthy")
	f.resume()
	f.untilEnded(ids)
	f.unharmed()
}

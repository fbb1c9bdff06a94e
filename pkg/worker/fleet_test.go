package worker_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/llm/openai"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/quota"
	"github.com/sluicedev/sluice/pkg/retry"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

// patience bounds every wait for an event. It is no measure of speed.
const patience = 2 * time.Minute

// fleet is a database, a provider and the workers of one test.
type fleet struct {
	t         *testing.T
	url       string
	db        *pgxpool.Pool
	sim       *llmtest.Server
	types     jobtype.Set
	rules     breaker.Rules
	queue     *queue.Queue
	upstreams *upstream.Store
}

// fast makes a type that is tried again within milliseconds.
func fast(name, upstreamName, model string, attempts int) jobtype.Type {
	return jobtype.Type{
		Name: name, Upstream: upstreamName, Model: model, Priority: 5, MaxAttempts: attempts, Timeout: 30 * time.Second,
		Backoff: retry.Backoff{Base: time.Millisecond, Factor: 2, Cap: 20 * time.Millisecond},
	}
}

func newFleet(t *testing.T, types []jobtype.Type, options ...llmtest.Option) *fleet {
	t.Helper()
	set, err := jobtype.NewSet(types...)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, url: pgtest.URL(t), sim: llmtest.Start(t, options...), types: set}
	f.db = f.pool(f.url)
	f.rules = breaker.DefaultRules
	f.rules.OpenFor, f.rules.MaxOpen, f.rules.HoldFor = 200*time.Millisecond, time.Second, 200*time.Millisecond
	f.queue, f.upstreams = queue.New(f.db, set), upstream.New(f.db).WithRules(f.rules)
	if err := f.queue.Sync(t.Context(), 0, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, jt := range set.All() {
		if err := f.upstreams.Ensure(t.Context(), jt.UpstreamNames()...); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// quota is what is kept of an upstream's quota.
func (f *fleet) quota(name string) (q quota.Quota) {
	f.t.Helper()
	var kept []byte
	if err := f.db.QueryRow(f.t.Context(), `select quota from upstreams where name = $1`, name).Scan(&kept); err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal(kept, &q); err != nil {
		f.t.Fatal(err)
	}
	return q
}

func (f *fleet) pool(url string) *pgxpool.Pool {
	f.t.Helper()
	pool := f.openPool(url)
	f.t.Cleanup(pool.Close)
	return pool
}

// openPool is pool for a test that closes it.
func (f *fleet) openPool(url string) *pgxpool.Pool {
	f.t.Helper()
	pool, err := pgxpool.New(f.t.Context(), url)
	if err != nil {
		f.t.Fatal(err)
	}
	return pool
}

// start runs a worker until stop is called, at the latest when the test ends.
func (f *fleet) start(change func(*worker.Config), handlers map[string]worker.Handler) (stop func()) {
	f.t.Helper()
	return f.startOn(f.pool(f.url), f.pool(f.url), change, handlers)
}

// startOn is start with the test's own ways to the database.
func (f *fleet) startOn(db, pulse pg.DB, change func(*worker.Config), handlers map[string]worker.Handler) (stop func()) {
	f.t.Helper()
	cfg := worker.Config{
		Types: f.types, Concurrency: 20, DeathAfter: 30 * time.Second, DrainLimit: 10 * time.Second, ListenURL: f.url, Share: 1,
		Providers: map[string]llm.Provider{"openai": openai.New(openai.Config{BaseURL: f.sim.BaseURL(), APIKey: "sk-test"})},
		Log:       slog.New(slog.NewTextHandler(f.t.Output(), nil)),
	}
	if change != nil {
		change(&cfg)
	}
	w := worker.New(db, pulse, upstream.New(db).WithRules(f.rules), cfg)
	for name, h := range handlers {
		w.Handle(name, h)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-ended; err != nil {
				f.t.Errorf("the worker ended with %v", err)
			}
		}
	}
	f.t.Cleanup(stop)
	return stop
}

func (f *fleet) enqueue(jobType, payload string, n int) []uuid.UUID {
	f.t.Helper()
	jobs := make([]queue.NewJob, n)
	for i := range jobs {
		jobs[i] = queue.NewJob{Type: jobType, Payload: json.RawMessage(payload)}
	}
	made, err := f.queue.Enqueue(f.t.Context(), jobs...)
	if err != nil {
		f.t.Fatal(err)
	}
	ids := make([]uuid.UUID, n)
	for i, m := range made {
		ids[i] = m.ID
	}
	return ids
}

// until waits for something to become true. Rows give no event to wait for, so it looks again and again.
func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited in vain for: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at rows
	}
}

func (f *fleet) job(id uuid.UUID) queue.Job {
	f.t.Helper()
	job, err := f.queue.Get(f.t.Context(), queue.DefaultTenant, id)
	if err != nil {
		f.t.Fatal(err)
	}
	return job
}

func (f *fleet) attempts(id uuid.UUID) []queue.Attempt {
	f.t.Helper()
	attempts, err := f.queue.Attempts(f.t.Context(), queue.DefaultTenant, id)
	if err != nil {
		f.t.Fatal(err)
	}
	return attempts
}

func (f *fleet) untilState(id uuid.UUID, state queue.State) queue.Job {
	f.t.Helper()
	f.until("job "+string(state), func() bool { return f.job(id).State == state })
	return f.job(id)
}

func (f *fleet) untilEnded(ids []uuid.UUID) {
	f.t.Helper()
	f.until("all jobs ended", func() bool {
		return f.count(`select count(*) from jobs where id = any ($1) and finished_at is not null`, ids) == int64(len(ids))
	})
}

func (f *fleet) count(sql string, args ...any) (n int64) {
	f.t.Helper()
	if err := f.db.QueryRow(f.t.Context(), sql, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fleet) upstream(name string) upstream.Status {
	f.t.Helper()
	s, ok, err := f.upstreams.Get(f.t.Context(), name)
	if err != nil || !ok {
		f.t.Fatalf("upstream %s: %v, %v", name, ok, err)
	}
	return s
}

func outcomes(attempts []queue.Attempt) []string {
	var names []string
	for _, a := range attempts {
		name := "running"
		if a.Outcome != nil {
			name = string(*a.Outcome)
		}
		if a.Charged {
			name += "!"
		}
		names = append(names, name)
	}
	return names
}

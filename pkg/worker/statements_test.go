package worker

import (
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
)

// asks enqueues so many jobs of the crew's type.
func (l *life) asks(t *testing.T, n int) {
	t.Helper()
	jobs := make([]queue.NewJob, n)
	for i := range jobs {
		jobs[i] = queue.NewJob{Type: "ask", Payload: []byte(`{"input":"hello"}`)}
	}
	if _, err := l.queue.Enqueue(t.Context(), jobs...); err != nil {
		t.Fatal(err)
	}
}

// timed is a database that notes how long each statement was given at most.
type timed struct {
	pg.DB
	mu   sync.Mutex
	seen map[string]time.Duration
}

func (d *timed) note(ctx context.Context, sql string) {
	given := time.Duration(math.MaxInt64) // for ever
	if deadline, ok := ctx.Deadline(); ok {
		given = time.Until(deadline)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[sql] = max(d.seen[sql], given)
}

func (d *timed) saw(kind string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for sql := range d.seen {
		if strings.Contains(sql, kind) {
			return true
		}
	}
	return false
}

func (d *timed) Begin(ctx context.Context) (pgx.Tx, error) {
	d.note(ctx, "begin")
	return d.DB.Begin(ctx)
}

func (d *timed) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	d.note(ctx, sql)
	return d.DB.Exec(ctx, sql, args...)
}

func (d *timed) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	d.note(ctx, sql)
	return d.DB.Query(ctx, sql, args...)
}

func (d *timed) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	d.note(ctx, sql)
	return d.DB.QueryRow(ctx, sql, args...)
}

func (d *timed) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	for _, q := range batch.QueuedQueries {
		d.note(ctx, q.SQL)
	}
	return d.DB.SendBatch(ctx, batch)
}

// answers are what calls meet, in turn; then they succeed.
func answers(all ...error) Handler {
	var calls atomic.Int64
	return func(context.Context, Job) (Result, error) {
		if n := int(calls.Add(1)); n <= len(all) {
			return Result{}, all[n-1]
		}
		return Result{}, nil
	}
}

// From joining to leaving, whatever its calls meet, a worker waits for no statement without end.
func TestEveryStatementHasItsTime(t *testing.T) {
	t.Parallel()
	db := &timed{seen: map[string]time.Duration{}}
	l := newCrew(t, func(inner pg.DB) pg.DB { db.DB = inner; return db })
	l.cfg.DeathAfter = 2 * time.Second // so that it beats soon
	l.handlers["ask"] = answers(nil, &llm.Error{Kind: llm.Refused, Status: 500}, &llm.Error{Kind: llm.Refused, Status: 401})
	l.asks(t, 4)
	clear(db.seen) // the test's own are none of the worker's
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	for n := 0; n < 4 || !db.saw("beat + 1"); time.Sleep(time.Millisecond) { // between two looks
		if err := db.DB.QueryRow(t.Context(), `select count(*) from attempts where outcome is not null`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for sql, given := range db.seen {
		if given > statementLimit {
			t.Errorf("a statement was given %s, more than %s: %s", given, statementLimit, sql)
		}
	}
	for _, kind := range []string{"insert into workers", "insert into claims", "update attempts", "upstream_swap", "delete from workers"} {
		if !db.saw(kind) {
			t.Errorf("no %q: this shows too little", kind)
		}
	}
}

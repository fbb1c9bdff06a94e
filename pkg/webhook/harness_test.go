package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const patience = 2 * time.Minute // for an event that has to come

// fixture is a table of deliveries in a database of its own.
type fixture struct {
	testing.TB
	db *pgxpool.Pool
}

func newFixture(t testing.TB) fixture { return fixture{t, pgtest.New(t)} }

func (f fixture) exec(sql string, args ...any) {
	f.Helper()
	if _, err := f.db.Exec(f.Context(), sql, args...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](f fixture, sql string, args ...any) (v T) {
	f.Helper()
	if err := f.db.QueryRow(f.Context(), sql, args...).Scan(&v); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
	return v
}

// until waits for a condition on the table to hold.
func (f fixture) until(condition string, args ...any) {
	f.Helper()
	for began := time.Now(); !one[bool](f, `select `+condition, args...); {
		if time.Since(began) > patience {
			f.Fatalf("never: %s", condition)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

const keptJob = `{"id":"0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11","tenant":"default","type":"chat","state":"failed","priority":5,"attempts":1,"max_attempts":5,
	"lease":2,"worker":null,"upstream":"openai:gpt-5","idempotency_key":null,"callback_url":"https://a.example/","scheduled_at":null,"expires_at":null,"deadline_at":null,
	"created_at":"2026-11-26T05:00:00.5+02:00","updated_at":"2026-11-26T03:00:01+00:00","started_at":"2026-11-26T03:00:01+00:00",
	"finished_at":"2026-11-26T03:00:02.123456+00:00","held_at":null,"last_error":"no <&> \" '"}`

// owe makes n deliveries due and gives the id of the last.
func (f fixture) owe(n int, tenant, url string) (id uuid.UUID) {
	f.Helper()
	return one[uuid.UUID](f, `with made as (
			insert into webhook_deliveries (job_id, tenant, url, event, job, due_at)
			select gen_random_uuid(), $2, $3, 'job.failed', $4, now() from generate_series(1, $1) returning id)
		select id from made order by id desc limit 1`, n, tenant, url, keptJob)
}

// row is a delivery in short: "delivered after 1, 200: ".
func (f fixture) row(id uuid.UUID) string {
	f.Helper()
	return one[string](f, `select case when delivered_at is not null then 'delivered' when failed_at is not null then 'failed' else 'open' end
		|| ' after ' || attempts || ', ' || coalesce(status::text, 'none') || ': ' || coalesce(last_error, '') from webhook_deliveries where id = $1`, id)
}

func (f fixture) wantRow(id uuid.UUID, want string) {
	f.Helper()
	if got := f.row(id); got != want {
		f.Errorf("the row is %q; want %q", got, want)
	}
}

// short is a day in a moment.
var short = Schedule{Delays: []time.Duration{time.Millisecond, 2 * time.Millisecond}, For: time.Hour}

// config lets deliveries reach these receivers of this machine, and nobody else.
func (f fixture) config(receivers ...*receiver) Config {
	cfg := Config{
		Keys: map[string][]Key{"": keysOf(f, secretOf("all"))}, Networks: prefixes("127.0.0.0/8"),
		Schedule: short, Log: slog.New(slog.DiscardHandler),
	}
	for _, r := range receivers {
		cfg.Hosts = append(cfg.Hosts, "127.0.0.1:"+r.port)
	}
	return cfg
}

// run delivers until the test ends or stop is called, and looks at the table all the time.
func (f fixture) run(d *Deliverer) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		d.Run(ctx)
		close(done)
	}()
	go func() {
		for ctx.Err() == nil {
			d.Owed()
			time.Sleep(2 * time.Millisecond)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	f.Cleanup(stop)
	return stop
}

func (f fixture) deliver(cfg Config) *Deliverer {
	d := New(f.db, cfg)
	f.run(d)
	return d
}

// received is a request as it came.
type received struct {
	header http.Header
	body   []byte
}

// receiver takes deliveries over real HTTP.
type receiver struct {
	url  string
	port string
	got  chan received
	now  atomic.Int32 // requests
	most atomic.Int32 // of them at once
}

// listenAt listens at any free port of an address. Not every machine has all of 127.0.0.0/8; those of CI have.
func listenAt(t testing.TB, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address+":0")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func receive(t testing.TB, address string, answer http.HandlerFunc) *receiver {
	t.Helper()
	return receiveOn(t, listenAt(t, address), answer)
}

func receiveOn(t testing.TB, listener net.Listener, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{got: make(chan received, 10_000)}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		now := r.now.Add(1)
		defer r.now.Add(-1)
		for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
		}
		r.got <- received{req.Header, body}
		answer(w, req)
	})}}
	server.Start()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.url, r.port = server.URL+"/hook", u.Port()
	return r
}

func (r *receiver) next(t testing.TB) received {
	t.Helper()
	select {
	case got := <-r.got:
		return got
	case <-time.After(patience):
		t.Fatal("nothing came")
		return received{}
	}
}

func yes(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// statuses answers with each in turn, and then with the last.
func statuses(codes ...int) http.HandlerFunc {
	var n atomic.Int32
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(codes[min(int(n.Add(1)), len(codes))-1]) }
}

// hang answers when the client has gone, or the test is over.
func hang(t testing.TB) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
	}
}

// broken is a database whose statements fail for a while.
type broken struct {
	pg.DB
	writes atomic.Int32 // that fail
}

func (b *broken) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if b.writes.Add(-1) >= 0 {
		return pgconn.CommandTag{}, errors.New("no database")
	}
	return b.DB.Exec(ctx, sql, args...)
}

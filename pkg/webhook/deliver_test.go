package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluicedev/sluice/pkg/pg"
)

func TestADelivery(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config(r)
	type seen struct {
		status int
		err    error
	}
	observed := make(chan seen, 1)
	cfg.Observe = func(status int, err error, _ time.Duration) { observed <- seen{status, err} }
	id := f.owe(1, "acme", r.url+"?a=b")
	f.deliver(cfg)
	got := r.next(t)
	f.until(`delivered_at is not null and due_at is null and tried_at is not null from webhook_deliveries`)
	f.wantRow(id, "delivered after 1, 204: ")
	if s := <-observed; s != (seen{204, nil}) {
		t.Errorf("observed %+v", s)
	}
	if got.header.Get("Webhook-Id") != id.String() || got.header.Get("Content-Type") != "application/json" || got.header.Get("User-Agent") != userAgent {
		t.Errorf("headers %v", got.header)
	}
	wh, err := standardwebhooks.NewWebhook(secretOf("all"))
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(got.body, got.header); err != nil {
		t.Errorf("the reference library for Go: %v", err)
	}
	var told struct {
		Type, Timestamp string
		Data            map[string]any
	}
	if err := json.Unmarshal(got.body, &told); err != nil {
		t.Fatal(err)
	}
	if told.Type != "job.failed" || told.Timestamp != "2026-11-26T03:00:02.123456Z" || told.Data["created_at"] != "2026-11-26T03:00:00.5Z" ||
		told.Data["last_error"] != `no <&> " '` || told.Data["lease"] != 2.0 || told.Data["result"] != nil || told.Data["held_at"] != nil {
		t.Errorf("told %s", got.body)
	}
}

// A tenant with secrets of its own is told by those alone; nobody is told without any.
func TestSecretsOfTenants(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config(r)
	cfg.Keys = map[string][]Key{"acme": keysOf(t, secretOf("acme"))}
	unsigned := f.owe(1, "globex", r.url)
	f.owe(1, "acme", r.url)
	f.deliver(cfg)
	wh, err := standardwebhooks.NewWebhook(secretOf("acme"))
	if err != nil {
		t.Fatal(err)
	}
	got := r.next(t)
	if err := wh.Verify(got.body, got.header); err != nil {
		t.Error(err)
	}
	f.until(`attempts > 1 from webhook_deliveries where id = $1`, unsigned)
	if last := one[string](f, `select coalesce(status::text, 'none') || ': ' || last_error from webhook_deliveries where id = $1`, unsigned); last != "none: "+errUnsigned.Error() {
		t.Errorf("the row says %q", last)
	}
	if len(r.got) > 0 {
		t.Error("something came that is not signed")
	}
}

// Whose secret signs, what an operator's endpoint allows, and the time that is signed: the database's, as it is by now.
func TestWhatIsAskedOfAReceiver(t *testing.T) {
	t.Parallel()
	const endpoint = "http://receiver.default.svc:8080/hook"
	d := New(nil, Config{Keys: map[string][]Key{"": keysOf(t, secretOf("all")), "acme": keysOf(t, secretOf("acme"))}, Endpoints: map[string]string{"acme": endpoint}})
	claimed, now := time.Now().Add(-time.Hour), time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	x := delivery{tenant: "acme", url: endpoint, event: "job.failed", job: []byte(keptJob), now: now, claimed: claimed}
	req, err := d.request(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseInt(req.Header.Get("Webhook-Timestamp"), 10, 64)
	if at := time.Unix(seconds, 0); err != nil || at.Before(now.Add(time.Hour)) || at.After(now.Add(time.Since(claimed))) {
		t.Errorf("signed at %v, which was claimed an hour ago, at %v", at, now)
	}
	content, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := req.Header.Get("Webhook-Signature"), signatures(d.cfg.Keys["acme"], x.id.String(), time.Unix(seconds, 0), content); got != want {
		t.Errorf("signed %s; want %s of its own secret alone", got, want)
	}
	x.tenant = "globex"
	if _, err := d.request(t.Context(), x); !errors.Is(err, errHost) {
		t.Errorf("to another tenant's endpoint: %v", err)
	}
}

// A step starts whatever is due, wherever in the table, up to so many at once; then it looks again.
func TestAStepFillsTheSlots(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range maxCalls {
		f.owe(1, "t"+strconv.Itoa(n), "http://no.example/") // which is not allowed, and so not called
	}
	const busy = 24
	cfg := f.config()
	cfg.Schedule = Day // none is due again
	d := New(f.db, cfg)
	d.calls, d.more = busy, true
	for _, started := range []int{maxCalls - busy, 0} {
		before := d.calls
		if err := d.step(t.Context()); err != nil || d.calls-before != started || !d.more {
			t.Fatalf("%d calls of %d, %v; more: %t", d.calls, maxCalls, err, d.more)
		}
	}
	for d.calls > busy {
		d.end(<-d.ended)
	}
	if len(d.inFlight) != 0 || len(d.unclear) != maxCalls-busy {
		t.Errorf("%d are in flight, %d to be recorded", len(d.inFlight), len(d.unclear))
	}
	d.calls = 0
	if err := d.step(t.Context()); err != nil || d.calls != busy {
		t.Errorf("%d calls, %v; want the %d that are left", d.calls, err, busy)
	}
}

// away is a database that counts what it does not answer.
type away struct {
	pg.DB
	looks, deletions atomic.Int64
}

func (a *away) Query(context.Context, string, ...any) (pgx.Rows, error) {
	a.looks.Add(1)
	return nil, errors.New("no database")
}

func (a *away) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	a.deletions.Add(1)
	return pgconn.CommandTag{}, errors.New("no database")
}

// By the bubble's clock: a start looks at once, what fails is tried again a second later, and once a minute old rows are deleted.
func TestWhatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &away{}
		d := New(db, Config{Keys: map[string][]Key{"": keysOf(t, secretOf("all"))}, Hosts: []string{"*"}, Log: slog.New(slog.DiscardHandler)})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.Run(ctx); close(done) }()
		synctest.Wait()
		if n := db.looks.Load(); n != 1 {
			t.Errorf("%d looks at the start", n)
		}
		time.Sleep(3 * recordPause)
		synctest.Wait()
		if looks, deletions := db.looks.Load(), db.deletions.Load(); looks != 4 || deletions != 0 {
			t.Errorf("%d looks in three seconds, %d deletions", looks, deletions)
		}
		time.Sleep(pollEvery)
		synctest.Wait()
		if n := db.deletions.Load(); n != 1 {
			t.Errorf("%d deletions in a minute", n)
		}
		stop()
		<-done
	})
}

// What failed together is not tried again together.
func TestTriesAreSpread(t *testing.T) {
	t.Parallel()
	d := New(nil, Config{Schedule: Day})
	delays := map[int64]bool{}
	for range 20 {
		delays[*d.judge(ended{delivery{attempts: 4}, answer{err: errors.New("no")}}).delay] = true
	}
	if len(delays) < 10 {
		t.Errorf("20 are tried again after %v", delays)
	}
}

func TestWithoutAnySecretNothingIsTouched(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cfg := f.config()
	cfg.Keys = nil
	id := f.owe(1, "acme", "http://127.0.0.1:1/")
	d := New(f.db, cfg)
	for range 2 {
		d.more = true
		if err := d.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.wantRow(id, "open after 0, none: ")
}

func TestAStartSaysWhatIsNotSent(t *testing.T) {
	t.Parallel()
	keys := map[string][]Key{"": keysOf(t, secretOf("all"))}
	for want, cfg := range map[string]Config{
		"SLUICE_WEBHOOK_SECRET": {Hosts: []string{"*"}},
		"SLUICE_WEBHOOK_HOSTS":  {Keys: keys},
		"":                      {Keys: keys, Hosts: []string{"*"}},
	} {
		var said bytes.Buffer
		cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
		New(nil, cfg).announce()
		if !strings.Contains(said.String(), want) || (want == "") != (said.Len() == 0) {
			t.Errorf("said %q; want %q", &said, want)
		}
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", statuses(500, 404, 302, 429, 200))
	cfg := f.config(r)
	id := f.owe(1, "acme", r.url)
	f.deliver(cfg)
	wh, err := standardwebhooks.NewWebhook(secretOf("all"))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		got := r.next(t)
		if got.header.Get("Webhook-Id") != id.String() {
			t.Errorf("another id: %v", got.header)
		}
		if err := wh.Verify(got.body, got.header); err != nil {
			t.Error(err)
		}
	}
	f.until(`delivered_at is not null from webhook_deliveries`)
	f.wantRow(id, "delivered after 5, 200: ")
}

func TestHowADeliveryEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		for_   time.Duration
		ended  string // a condition
		want   string
	}{
		{"gone", statuses(410), time.Hour, `failed_at is not null`, "failed after 1, 410: answered 410 Gone"},
		{"the day is over", statuses(503), 0, `failed_at is not null`, "failed after 1, 503: answered 503 Service Unavailable"},
		{"asked to wait", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(429)
		}, time.Hour, `attempts = 1 and due_at > now() + interval '9 minutes'`, "open after 1, 429: answered 429 Too Many Requests"},
		{"asked to wait for ever", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999999")
			w.WriteHeader(503)
		}, tryFor, `attempts = 1 and due_at between now() + interval '5 hours 59 minutes' and now() + interval '7 hours 31 minutes'`, "open after 1, 503: answered 503 Service Unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			r := receive(t, "127.0.0.1", tt.answer)
			cfg := f.config(r)
			cfg.Schedule.For = tt.for_
			id := f.owe(1, "acme", r.url)
			f.deliver(cfg)
			f.until(tt.ended + ` and status is not null from webhook_deliveries`)
			f.wantRow(id, tt.want)
		})
	}
}

// A worker that dies between its call and the record leaves a lease; the same delivery is then made again.
func TestACrashBetweenCallAndRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config(r)
	id := f.owe(1, "acme", r.url)
	claimed, err := claim(t.Context(), f.db, first, nil, maxCalls)
	if err != nil || len(claimed) != 1 {
		t.Fatalf("claimed %d, %v", len(claimed), err)
	}
	dead := New(f.db, cfg)
	if a := dead.call(t.Context(), claimed[0]); a.err != nil {
		t.Fatal(a.err)
	}
	before := r.next(t)
	if again, err := claim(t.Context(), f.db, first, nil, maxCalls); err != nil || len(again) != 0 {
		t.Fatalf("claimed under a lease: %d, %v", len(again), err)
	}
	if left := one[time.Duration](f, `select due_at - now() from webhook_deliveries`); left <= 0 || left > leaseFor {
		t.Errorf("the lease has %v left", left)
	}
	f.exec(`update webhook_deliveries set due_at = now()`) // it runs out
	f.deliver(cfg)
	second := r.next(t)
	if before.header.Get("Webhook-Id") != second.header.Get("Webhook-Id") || !bytes.Equal(before.body, second.body) {
		t.Error("the same delivery is another one")
	}
	f.until(`delivered_at is not null from webhook_deliveries`)
	f.wantRow(id, "delivered after 2, 204: ")
}

// A record that comes when another has the delivery under lease, or has made it, changes nothing.
func TestALateRecordChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := New(f.db, f.config())
	id := f.owe(1, "acme", "http://a.example/")
	try := func() delivery {
		f.exec(`update webhook_deliveries set due_at = now()`)
		claimed, err := claim(t.Context(), f.db, first, nil, maxCalls)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("claimed %d, %v", len(claimed), err)
		}
		return claimed[0]
	}
	record := func(x delivery, a answer) {
		if err := write(t.Context(), f.db, []record{d.judge(ended{x, a})}); err != nil {
			t.Fatal(err)
		}
	}
	slow, quick := try(), try()
	late := answer{status: 500, err: fmt.Errorf("late")}
	record(slow, late)
	f.wantRow(id, "open after 2, none: ")
	record(quick, answer{status: 204})
	record(slow, late)
	record(quick, late)
	f.wantRow(id, "delivered after 2, 204: ")
}

// While nothing can be recorded nothing is sent; then what is known is recorded, and not sent again.
func TestRecordsWaitForTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config(r)
	id := f.owe(1, "acme", r.url)
	db := &broken{DB: f.db}
	db.writes.Store(3)
	f.run(New(db, cfg))
	f.until(`delivered_at is not null from webhook_deliveries`)
	f.wantRow(id, "delivered after 1, 204: ")
	if len(r.got) != 1 {
		t.Errorf("%d calls", len(r.got))
	}
}

func TestNothingStartsWhileARecordWaits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.owe(1, "acme", "http://a.example/")
	db := &broken{DB: f.db}
	db.writes.Store(1)
	d := New(db, f.config())
	d.unclear, d.more = []record{{}}, true
	if err := d.step(t.Context()); err == nil {
		t.Error("the record was written")
	}
	f.wantRow(id, "open after 0, none: ")
}

func TestAStopRecordsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	r := receive(t, "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.WriteHeader(200)
	})
	cfg := f.config(r)
	id := f.owe(1, "acme", r.url)
	stop := f.run(New(f.db, cfg))
	<-arrived
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("it stopped with a call in flight")
	case <-time.After(50 * time.Millisecond): // in which it would have stopped
	}
	close(release)
	<-stopped
	f.wantRow(id, "delivered after 1, 200: ")
}

// Hosts that do not answer keep neither another host nor another tenant waiting.
func TestSlowHostsDoNotStarveOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var slow []*receiver
	for range 4 {
		r := receive(t, "127.0.0.1", hang(t))
		slow = append(slow, r)
		f.owe(100, "slow", r.url)
	}
	good := receive(t, "127.0.0.1", yes)
	d := New(f.db, f.config(append(slow, good)...))
	d.limit = time.Hour // no call ends before the test
	f.run(d)
	f.until(`count(*) >= $1 from webhook_deliveries where attempts > 0`, maxTenantCalls)
	f.owe(100, "quick", good.url)
	f.until(`count(*) = 100 from webhook_deliveries where tenant = 'quick' and delivered_at is not null`)
	if n := one[int](f, `select count(*) from webhook_deliveries where tenant = 'slow' and attempts > 0`); n != maxTenantCalls {
		t.Errorf("%d calls of the slow tenant; want %d", n, maxTenantCalls)
	}
	for _, r := range slow {
		if most := r.most.Load(); most > maxHostCalls {
			t.Errorf("%d calls at once to one host", most)
		}
	}
}

func TestASlowHostLeavesItsTenantsOthersAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	slow, good := receive(t, "127.0.0.1", hang(t)), receive(t, "127.0.0.1", yes)
	cfg := f.config(slow, good)
	f.owe(500, "acme", slow.url)
	d := New(f.db, cfg)
	d.limit = time.Hour // no call ends before the test
	f.run(d)
	f.until(`count(*) = $1 from webhook_deliveries where attempts > 0`, maxHostCalls)
	f.owe(100, "acme", good.url)
	f.until(`count(*) = 100 from webhook_deliveries where delivered_at is not null`)
	if most := slow.most.Load(); most > maxHostCalls {
		t.Errorf("%d calls at once to the slow host", most)
	}
}

func TestALongErrorOfATryIsCut(t *testing.T) {
	t.Parallel()
	if got := *storable(fmt.Errorf("a\x00\xff%s", strings.Repeat("é", maxError))); len(got) > maxError || !strings.HasPrefix(got, "aé") {
		t.Errorf("%d bytes, %.10q", len(got), got)
	}
}

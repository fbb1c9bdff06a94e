package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func TestADelivery(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
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

// standardwebhooks of npm, as the receivers of most use it.
const npmLibrary = "standardwebhooks@1.1.1"

// TestTheReferenceLibraryOfNode needs Node and npm's registry: without them it is skipped, unless CI=true.
func TestTheReferenceLibraryOfNode(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home, npmLibrary)
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s cannot be had: %v\n%s", npmLibrary, err, out)
		}
		t.Skipf("%s cannot be had: %v", npmLibrary, err)
	}
	script := filepath.Join(home, "verify.js")
	const verify = `const { Webhook } = require("standardwebhooks");
const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0));
console.log(new Webhook(secret).verify(body, headers).type);`
	if err := os.WriteFile(script, []byte(verify), 0o600); err != nil {
		t.Fatal(err)
	}
	node := func(secret string, got received) (string, error) {
		headers := map[string]string{}
		for name := range got.header {
			headers[strings.ToLower(name)] = got.header.Get(name)
		}
		input, err := json.Marshal(map[string]any{"secret": secret, "body": string(got.body), "headers": headers})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "node", script)
		cmd.Stdin = bytes.NewReader(input)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
	cfg.Keys[""] = keysOf(t, secretOf("old"), secretOf("new"))
	f.owe(1, "acme", r.url)
	f.deliver(cfg)
	got := r.next(t)
	for _, secret := range []string{"old", "new"} {
		if out, err := node(secretOf(secret), got); err != nil || out != "job.failed" {
			t.Errorf("with the %s secret: %v %s", secret, err, out)
		}
	}
	if out, err := node(secretOf("another"), got); err == nil {
		t.Errorf("with another secret it is accepted: %s", out)
	}
	got.body = bytes.Replace(got.body, []byte("failed"), []byte("done"), 1)
	if out, err := node(secretOf("new"), got); err == nil {
		t.Errorf("with another body it is accepted: %s", out)
	}
}

// A tenant with secrets of its own is told by those alone; nobody is told without any.
func TestSecretsOfTenants(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
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
	if last := one[string](f, `select last_error from webhook_deliveries where id = $1`, unsigned); last != errUnsigned.Error() {
		t.Errorf("the row says %q", last)
	}
	if len(r.got) > 0 {
		t.Error("something came that is not signed")
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
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
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
			cfg := f.config()
			cfg.Hosts, cfg.Schedule.For = []string{"*:" + r.port}, tt.for_
			id := f.owe(1, "acme", r.url)
			f.deliver(cfg)
			f.until(tt.ended + ` and status is not null from webhook_deliveries`)
			f.wantRow(id, tt.want)
		})
	}
}

// A worker that dies between its call and the record leaves a lease; the same delivery is then made again, and the record
// that comes late changes nothing.
func TestACrashBetweenCallAndRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
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
	late := ended{claimed[0], answer{status: 500, err: fmt.Errorf("late")}}
	if err := write(t.Context(), f.db, []record{dead.judge(late)}); err != nil {
		t.Fatal(err)
	}
	f.wantRow(id, "delivered after 2, 204: ")
}

// While nothing can be recorded nothing is sent; then what is known is recorded, and not sent again.
func TestRecordsWaitForTheDatabase(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
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

func TestAStopRecordsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	r := receive(t, "127.0.0.1", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.WriteHeader(200)
	})
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
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
	case <-time.After(50 * time.Millisecond):
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
	d := New(f.db, f.config())
	d.cfg.Hosts, d.limit = nil, time.Hour // no call ends before the test
	good := receive(t, "127.0.0.1", yes)
	for _, r := range append(slow, good) {
		d.cfg.Hosts = append(d.cfg.Hosts, "127.0.0.1:"+r.port)
	}
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
	cfg := f.config()
	cfg.Hosts = []string{"*:" + slow.port, "*:" + good.port}
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

func TestTenantsTakeTurns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for host := range 30 {
		f.owe(20, "greedy", fmt.Sprintf("https://h%d.example/", host))
	}
	var others []uuid.UUID
	for n := range 5 {
		others = append(others, f.owe(1, "t"+strconv.Itoa(n), "https://a.example/"))
	}
	claimed, err := claim(t.Context(), f.db, first, nil, 12)
	if err != nil || len(claimed) != 12 {
		t.Fatalf("claimed %d, %v", len(claimed), err)
	}
	for _, id := range others {
		if !slices.ContainsFunc(claimed, func(d delivery) bool { return d.id == id }) {
			t.Error("a tenant with one delivery waits for one with hundreds")
		}
	}
	perLane := map[int64]int{}
	for _, d := range claimed {
		perLane[d.lane]++
	}
	if len(perLane) != 12 {
		t.Errorf("12 deliveries of %d lanes", len(perLane))
	}
}

// In the long run every lane is looked at, however many there are.
func TestEveryLaneHasItsTurn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into webhook_deliveries (job_id, tenant, url, event, job, due_at)
		select gen_random_uuid(), 't' || n % 40, 'http://h' || n || '.example:9/', 'job.done', $1, now() from generate_series(1, 2000) n`, keptJob)
	if claimed, err := claim(t.Context(), f.db, first, nil, 10_000); err != nil || len(claimed) != maxLanes {
		t.Errorf("one claim looked at %d lanes, %v; want %d", len(claimed), err, maxLanes)
	}
	cfg := f.config()
	cfg.Hosts, cfg.Schedule = nil, Schedule{Delays: []time.Duration{time.Hour}, For: tryFor}
	f.deliver(cfg)
	f.exec(`update webhook_deliveries set due_at = now()`)
	f.until(`not exists (select from webhook_deliveries where last_error is null)`)
}

func TestManyDeliverersShareTheTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config()
	cfg.Hosts = []string{"127.0.0.1:" + r.port}
	const n = 400
	f.owe(n, "acme", r.url)
	for range 3 {
		f.deliver(cfg)
	}
	f.until(`count(*) = $1 from webhook_deliveries where delivered_at is not null`, n)
	if len(r.got) != n || one[int](f, `select sum(attempts)::int from webhook_deliveries`) != n {
		t.Errorf("%d calls for %d deliveries", len(r.got), n)
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tt := range []struct{ result, want string }{
		{`{"output_text": "hi", "usage": {"input_tokens":3}, "response": {"id": "r"}}`, `{"output_text" : "hi", "usage" : {"input_tokens":3}}`},
		{`{"output_text": "` + strings.Repeat("x", maxResult) + `"}`, ""},
	} {
		f.exec(`truncate webhook_deliveries, jobs`)
		f.exec(`with job as (insert into jobs (type, state, priority, payload, attempts, max_attempts, lease, finished_at, result)
				values ('chat', 'done', 5, '{}', 1, 1, 1, now(), $1) returning id)
			insert into webhook_deliveries (job_id, tenant, url, event, job, due_at) select id, 'acme', 'http://a.example/', 'job.done', $2, now() from job`, tt.result, keptJob)
		claimed, err := claim(t.Context(), f.db, first, nil, 1)
		if err != nil || len(claimed) != 1 || string(claimed[0].result) != tt.want {
			t.Errorf("%v: got %.100s; want %.100s", err, claimed[0].result, tt.want)
		}
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.owe(1500, "acme", "http://a.example/")
	f.exec(`update webhook_deliveries set created_at = now() - interval '30 days 1 minute'`)
	kept := f.owe(1, "acme", "http://a.example/")
	f.exec(`update webhook_deliveries set created_at = now() - interval '29 days 23 hours' where id = $1`, kept)
	New(f.db, f.config()).prune(t.Context())
	if left := one[[]uuid.UUID](f, `select array_agg(id) from webhook_deliveries`); !slices.Equal(left, []uuid.UUID{kept}) {
		t.Errorf("%d rows are left", len(left))
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := func(want string) {
		t.Helper()
		got := one[string](f, `select coalesce(string_agg(tenant || '=' || url, ' ' order by tenant), '') from webhook_endpoints`)
		if got != want {
			t.Errorf("endpoints %q; want %q", got, want)
		}
	}
	write := func(version int64, endpoints map[string]string) {
		t.Helper()
		if err := Sync(t.Context(), f.db, version, endpoints); err != nil {
			t.Fatal(err)
		}
	}
	write(1, map[string]string{"a": "http://a/", "b": "http://b/"})
	want("a=http://a/ b=http://b/")
	write(1, map[string]string{"a": "http://a2/", "c": "http://c/"})
	want("a=http://a2/ c=http://c/")
	write(0, map[string]string{"a": "http://old/"})
	want("a=http://a2/ c=http://c/")
	write(2, nil)
	want("")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { write(3, map[string]string{"a": "http://a/", "b": "http://b/", "c": "http://c/"}) })
	}
	all.Wait()
	want("a=http://a/ b=http://b/ c=http://c/")
}

func TestALongErrorOfATryIsCut(t *testing.T) {
	t.Parallel()
	if got := *storable(fmt.Errorf("a\x00\xff%s", strings.Repeat("é", maxError))); len(got) > maxError || !strings.HasPrefix(got, "aé") {
		t.Errorf("%d bytes, %.10q", len(got), got)
	}
}

// What is sent is what openapi.yaml says.
func TestTheBodyIsThatOfTheContract(t *testing.T) {
	t.Parallel()
	doc, err := openapi3.NewLoader().LoadFromFile("../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schema := doc.Components.Schemas["JobEnded"].Value
	for _, result := range []json.RawMessage{nil, json.RawMessage(`{"output_text":"hi","usage":{"input_tokens":3}}`)} {
		said, err := body("job.failed", []byte(keptJob), result)
		if err != nil {
			t.Fatal(err)
		}
		var value map[string]any
		if err := json.Unmarshal(said, &value); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s: %v", said, err)
		}
		data := value["data"].(map[string]any)
		for _, part := range doc.Components.Schemas["JobEndedData"].Value.AllOf {
			for _, name := range part.Value.Required {
				if _, there := data[name]; !there {
					t.Errorf("%s is missing", name)
				}
				delete(data, name)
			}
		}
		if len(data) > 0 {
			t.Errorf("nobody knows of %v", data)
		}
	}
}

// Every statement of docs/webhooks.md runs.
func TestTheStatementsOfTheDocsRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	statements := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllSubmatch(page, -1)
	statements = append(statements, regexp.MustCompile("`(update [^`]*id = ')...'`").FindAllSubmatch(page, -1)...)
	if len(statements) != 3 {
		t.Fatalf("%d statements; want 3", len(statements))
	}
	id := f.owe(1, "acme", "https://a.example/")
	f.exec(`update webhook_deliveries set due_at = null, failed_at = now(), attempts = 12`)
	for _, s := range statements {
		sql := string(s[1])
		if strings.HasPrefix(sql, "update") {
			sql += id.String() + "'"
		}
		f.exec(sql)
	}
	f.wantRow(id, "open after 0, none: ")
}

package webhook

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

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

// Two processes that claim at once do not wait for each other, and neither gets what the other has.
func TestAClaimWaitsForNobody(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.owe(2, "acme", "https://a.example/")
	tx, err := f.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	var theirs uuid.UUID
	if err := tx.QueryRow(t.Context(), `select id from webhook_deliveries order by id limit 1 for update`).Scan(&theirs); err != nil {
		t.Fatal(err)
	}
	ours, err := claim(t.Context(), f.db, first, nil, 2) // would wait for ever
	if err != nil || len(ours) != 1 || ours[0].id == theirs {
		t.Errorf("claimed %d beside another, %v", len(ours), err)
	}
}

// Where the URL asks for another of pgx's modes, for a pooler, tries are claimed and recorded all the same.
func TestDeliveriesInEveryModeOfPgx(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		cfg := f.db.Config()
		cfg.ConnConfig.DefaultQueryExecMode = mode
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		id := f.owe(1, "acme", "https://a.example/")
		claimed, err := claim(t.Context(), pool, first, map[int64]int{1: 1}, 10)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("%s: claimed %d, %v", mode, len(claimed), err)
		}
		if err := write(t.Context(), pool, []record{{id: id, attempts: 1}}); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if !one[bool](f, `select delivered_at is not null from webhook_deliveries where id = $1`, id) {
			t.Errorf("%s: not recorded", mode)
		}
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
	cfg.Schedule = Schedule{Delays: []time.Duration{time.Hour}, For: tryFor}
	f.deliver(cfg)
	// Whoever is looked at first is due again, and what is being recorded is left alone, as it would wait for this.
	f.exec(`update webhook_deliveries set due_at = now() where id in (select id from webhook_deliveries for update skip locked)`)
	f.until(`not exists (select from webhook_deliveries where last_error is null)`)
}

func TestManyDeliverersShareTheTable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := receive(t, "127.0.0.1", yes)
	cfg := f.config(r)
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
	for _, tt := range []struct{ event, result, want string }{
		{"job.done", `{"output_text": "hi", "usage": {"input_tokens":3}, "response": {"id": "r"}}`, `{"output_text" : "hi", "usage" : {"input_tokens":3}}`},
		{"job.failed", `{"output_text": "of a later try"}`, ""},
		{"job.done", `{"output_text": "` + strings.Repeat("x", maxResult) + `"}`, ""},
	} {
		f.exec(`truncate webhook_deliveries, jobs`)
		f.exec(`with job as (insert into jobs (type, state, priority, payload, attempts, max_attempts, lease, finished_at, result)
				values ('chat', 'done', 5, '{}', 1, 1, 1, now(), $1) returning id)
			insert into webhook_deliveries (job_id, tenant, url, event, job, due_at) select id, 'acme', 'http://a.example/', $3, $2, now() from job`, tt.result, keptJob, tt.event)
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

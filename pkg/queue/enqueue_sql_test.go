package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

func TestEnqueueJobNamesTheField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for call, field := range map[string]string{
		`enqueue_job(null, '{"input":"x"}')`:                                                  "type",
		`enqueue_job('nope', '{"input":"x"}')`:                                                "type",
		`enqueue_job('chat', null)`:                                                           "payload",
		`enqueue_job('chat', '{"input":"x"}', 0)`:                                             "priority",
		`enqueue_job('chat', '{"input":"x"}', 11)`:                                            "priority",
		`enqueue_job('chat', '{"input":"x"}', max_attempts => 0)`:                             "max_attempts",
		`enqueue_job('chat', '{"input":"x"}', max_attempts => 101)`:                           "max_attempts",
		`enqueue_job('chat', '{"input":"x"}', scheduled_at => now() + '31 days')`:             "scheduled_at",
		`enqueue_job('chat', '{"input":"x"}', scheduled_at => 'infinity')`:                    "scheduled_at",
		`enqueue_job('chat', '{"input":"x"}', scheduled_at => '-infinity')`:                   "scheduled_at",
		`enqueue_job('chat', '{"input":"x"}', scheduled_at => '4000-01-01 BC')`:               "scheduled_at",
		`enqueue_job('chat', '{"input":"x"}', idempotency_key => '')`:                         "idempotency_key",
		`enqueue_job('chat', '{"input":"x"}', idempotency_key => repeat('é', 256))`:           "idempotency_key",
		`enqueue_job('chat', '{"input":"x"}', tenant => '')`:                                  "tenant",
		`enqueue_job('chat', '{"input":"x"}', tenant => null)`:                                "tenant",
		`enqueue_job('chat', ('{"input":"' || repeat('x', 1048576) || '"}')::json)`:           "payload",
		`enqueue_job('chat', '{"input":"x","request":{"model":"gpt-9"}}')`:                    "payload.request.model",
		`enqueue_job('chat', '{"input":"x","request":{"stream":true}}')`:                      "payload.request.stream",
		`enqueue_job('free', ('{"a":' || repeat('[', 100) || repeat(']', 100) || '}')::json)`: "payload",
	} {
		_, err := f.db.Exec(t.Context(), "select "+call)
		var raised *pgconn.PgError
		if !errors.As(err, &raised) || raised.Code != "22023" || !strings.HasPrefix(raised.Message, field+": ") {
			t.Errorf("%s: %v; want 22023 for %s", call, err, field)
		}
	}
	if n := one[int](f, `select count(*) from jobs`); n != 0 {
		t.Errorf("%d jobs were stored", n)
	}
}

func TestEnqueueJobIsPartOfTheTransaction(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx := f.begin()
	var id uuid.UUID
	if err := tx.QueryRow(t.Context(), `select enqueue_job('chat', '{"input":"x"}')`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get(t.Context(), DefaultTenant, id); !errors.Is(err, ErrNotFound) {
		t.Errorf("a job of a transaction that was rolled back: %v", err)
	}
	f.wantConsistent()
}

func TestEnqueueJobEqualsEnqueue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	for _, job := range []NewJob{
		{Type: "chat", Payload: prompt},
		{Type: "chat", Payload: json.RawMessage(`{"messages":[{}],"request":{"model":"gpt-5-mini"}}`), Priority: new(1), MaxAttempts: new(100), Tenant: "acme"},
		{Type: "patient", Payload: prompt, ScheduledAt: &at},
		{Type: "paced", Payload: json.RawMessage(`{"request":{"model":"ignored"}}`)},
		{Type: "free", Payload: json.RawMessage(`{}`), ScheduledAt: new(at.Add(-2 * time.Hour))},
	} {
		viaGo := f.add(job)[0]
		tenant := job.Tenant
		if tenant == "" {
			tenant = DefaultTenant
		}
		viaSQL := one[uuid.UUID](f, `select enqueue_job($1, $2::text::json, $3, $4, $5, null, $6)`,
			job.Type, string(job.Payload), job.Priority, job.MaxAttempts, job.ScheduledAt, tenant)
		const columns = `select row(tenant, type, state, priority, payload::text, attempts, max_attempts, lease, worker, upstream, scheduled_at,
			expires_at is null, round(extract(epoch from expires_at - greatest(created_at, scheduled_at))), started_at, finished_at)::text from jobs where id = $1`
		if g, s := one[string](f, columns, viaGo), one[string](f, columns, viaSQL); g != s {
			t.Errorf("from Go %s, from SQL %s", g, s)
		}
	}
	f.wantConsistent()
}

// An application calls enqueue_job from its own schema.
func TestEnqueueJobWorksWhateverTheSearchPath(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx := f.begin()
	for _, sql := range []string{`create schema app`, `set local search_path = app`,
		`select public.enqueue_job('chat', '{"input":"x"}', idempotency_key => 'k')`,
		`select public.enqueue_job('chat', '{"input":"x"}', idempotency_key => 'k')`, `select public.runnable_backlog()`} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	f.commit(tx)
	if n := must[int64](f)(f.Backlog(t.Context())); n != 1 {
		t.Errorf("the backlog is %d; want 1", n)
	}
}

// thirty days are counted from the statement, not from the start of a transaction that may be long.
func TestEnqueueJobCountsFromTheClock(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx := f.begin()
	_, err := tx.Exec(t.Context(), `select enqueue_job('chat', '{"input":"x"}', scheduled_at => clock_timestamp() + interval '30 days')`)
	if err != nil {
		t.Error(err)
	}
}

// Both ways in refuse the same payloads, and name the same field.
func TestEnqueueJobChecksPayloadsAsGoDoes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	deep := func(n int) string {
		return `{"input":"x","a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	payloads := []string{
		`{"input":"x"}`, `{"messages":[1]}`, `{}`, `[]`, `1`, `"x"`, `null`, `{"input":"x","messages":[1]}`,
		`{"input":""}`, `{"input":" "}`, `{"input":[]}`, `{"input":[ ]}`, `{"input":null}`, `{"input":1}`, `{"input":{}}`, `{"input":["x"]}`,
		`{"messages":[]}`, `{"messages":"x"}`, `{"messages":null}`, `{"messages":{}}`,
		`{"input":"x","input":"y"}`, `{"input":"x","in\u0070ut":"y"}`, `{"input":"x","other":1,"other":2}`,
		`{"input":"x","request":null}`, `{"input":"x","request":[]}`, `{"input":"x","request":{}}`, `{"input":"x","request":{},"request":{}}`,
		`{"input":"x","request":{"temperature":1,"temperature":2}}`, `{"input":"x","request":{"a":{"b":1,"b":2}}}`,
		`{"input":"x","request":{"input":1}}`, `{"input":"x","request":{"messages":1}}`, `{"input":"x","request":{"str\u0065am":1}}`, `{"input":"x","request":{"background":1}}`,
		`{"input":"x","request":{"model":"gpt-5"}}`, `{"input":"x","request":{"model":"gpt-5-mini"}}`, `{"input":"x","request":{"model":"gpt-\u0035"}}`,
		`{"input":"x","request":{"model":"o9"}}`, `{"input":"x","request":{"model":null}}`, `{"input":"x","request":{"model":5}}`, `{"input":"x","request":{"model":""}}`,
		`{"input":"x","request":{"instructions":"be kind"}}`, `{"input":"x","request":{"instructions":null}}`, `{"input":"x","request":{"instructions":1}}`, `{"input":"x","request":{"instructions":{}}}`,
		`{"input":"\u0000"}`, `{"input":"\\u0000"}`, `{"input":"\\\u0000"}`, `{"input":"x","\u0000":1}`, `{"input":"x","a":["\u0000"]}`,
		`{"input":"\ud800"}`, `{"input":"\udc00"}`, `{"input":"\ud83d\ude00"}`, `{"input":"\ude00\ud83d"}`, `{"input":"\ud800x"}`, `{"input":"\uD83D\uDE00\ud83d"}`, `{"input":"\\ud800"}`, `{"input":"x","\ud800":1}`, `{"input":"\ud83d\ud83d\ude00\ude00"}`,
		`{"input":"x","n":1e308}`, `{"input":"x","n":1e309}`, `{"input":"x","n":-1e309}`, `{"input":"x","n":1e400000}`, `{"input":"x","n":1e-400}`, `{"input":"x","n":1e-20000}`, `{"input":"x","n":0e999999999}`, `{"input":"x","n":0.0000e99}`,
		`{"input":"x","n":1e99999999999999999999}`, `{"input":"x","n":1e-99999999999999999999}`, `{"input":"x","n":1E+0000000000000000308}`,
		`{"input":"x","n":1.7976931348623157e308}`, `{"input":"x","n":1.7976931348623158e308}`, `{"input":"x","n":1.7976931348623159e308}`, `{"input":"x","n":17976931348623157.9e292}`, `{"input":"x","n":0.00017976931348623159e312}`,
		`{"input":"x","n":0.000001e314}`, `{"input":"x","n":0.000001e315}`, `{"input":"x","n":[{"m":1e309}]}`, `{"input":"x","n":1e309,"n":1}`, `{"input":"1e309","1e309":"1e309"}`, `{"input":"\"1e309"}`,
		`{"input":"x","n":` + strings.Repeat("9", 308) + `}`, `{"input":"x","n":` + strings.Repeat("9", 309) + `}`, `{"input":"x","n":1` + strings.Repeat("0", 308) + `}`, `{"input":"x","n":1` + strings.Repeat("0", 309) + `.5}`,
		`{"input":"x","n":1` + strings.Repeat("0", 400) + `e-200}`,
		deep(99), deep(100), deep(101), `{"input":"` + strings.Repeat("[", 200) + `"}`, `{"input":"x","a\"[[[":"\"]]]\\"}`,
		`{"input":"x","a":` + strings.Repeat(`{"a":[`, 49) + strings.Repeat(`]}`, 49) + `}`, `{"input":"x","a":` + strings.Repeat(`{"a":[`, 50) + strings.Repeat(`]}`, 50) + `}`,
		`{"input":"` + strings.Repeat("x", 1<<20-12) + `"}`, `{"input":"` + strings.Repeat("x", 1<<20-11) + `"}`,
	}
	for _, typeName := range []string{"chat", "free"} {
		jobType, _ := f.types.Lookup(typeName)
		for _, payload := range payloads {
			_, err := jobType.Check(json.RawMessage(payload))
			var fault *strictjson.Error
			goField := ""
			if errors.As(err, &fault) {
				goField = fault.Field
			}
			_, err = f.db.Exec(t.Context(), `select enqueue_job($1, $2::text::json)`, typeName, payload)
			sqlField := ""
			var raised *pgconn.PgError
			if errors.As(err, &raised) {
				sqlField, _, _ = strings.Cut(raised.Message, ": ")
				if raised.Code != "22023" {
					sqlField = raised.Code + " " + raised.Message
				}
			}
			// What cannot be kept truly is named by its place in Go; SQL names the payload.
			if goField != sqlField && !(sqlField == "payload" && strings.HasPrefix(goField, "payload")) {
				t.Errorf("%s %.120s: Go says %q (%v), SQL says %q (%v)", typeName, payload, goField, fault, sqlField, raised)
			}
		}
	}
}

// A check of a payload of any shape costs little: an application's transaction waits for it.
func TestEnqueueJobTakesTheLargestPayloads(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	fill := func(open, part, closing string) string {
		return open + strings.Repeat(part, (1<<20-len(open)-len(closing))/len(part)) + closing
	}
	for name, payload := range map[string]string{
		"escapes":    fill(`{"input":"`, `\"`, `"}`),
		"backslash":  fill(`{"input":"`, `\\`, `"}`),
		"surrogates": fill(`{"input":"`, `\ud83d\ude00`, `"}`),
		"brackets":   fill(`{"input":"x","a":[[]`, `,[]`, `]}`),
		"strings":    fill(`{"input":"x","a":[""`, `,"a"`, `]}`),
		"numbers":    fill(`{"input":"x","a":[0`, `,1e5`, `]}`),
		"one number": fill(`{"input":"x","a":0.`, `1`, `}`),
	} {
		tx := f.begin()
		_, err := tx.Exec(t.Context(), `set local statement_timeout = '2min'`) // so that it ends; no measure of speed
		if err == nil {
			_, err = tx.Exec(t.Context(), `select enqueue_job('chat', $1::text::json)`, payload)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(fmt.Errorf("%s: %w", name, err))
		}
	}
}

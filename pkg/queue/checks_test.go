package queue

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Every named CHECK refuses its bad row, whoever writes it.
func TestChecksRefuseBadRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const job = `insert into jobs (type, state, priority, payload, max_attempts) values ('chat', 'queued', 5, '{}', 3)`
	f.exec(job)
	const attempt = `insert into attempts (job_id, number, worker) values (gen_random_uuid(), 1, 'w')`
	f.exec(attempt)
	for _, c := range []struct{ constraint, sql string }{
		{"jobs_state_known", `update jobs set state = 'paused'`},
		{"jobs_priority_range", `update jobs set priority = 0`},
		{"jobs_priority_range", `update jobs set priority = 11`},
		{"jobs_max_attempts_range", `update jobs set max_attempts = 0`},
		{"jobs_max_attempts_range", `update jobs set max_attempts = 101`},
		{"jobs_attempts_range", `update jobs set attempts = 4`},
		{"jobs_attempts_range", `update jobs set attempts = -1`},
		{"jobs_lease_range", `update jobs set lease = -1`},
		{"jobs_running_has_lease", `update jobs set state = 'running'`},
		{"jobs_running_has_lease", `update jobs set worker = 'w'`},
		{"jobs_running_has_lease", `update jobs set state = 'running', worker = 'w', started_at = now(), deadline_at = now()`},
		{"jobs_running_has_lease", `update jobs set state = 'running', worker = 'w', lease = 1, started_at = now()`},
		{"jobs_running_has_lease", `update jobs set state = 'running', worker = 'w', lease = 1, deadline_at = now()`},
		{"jobs_ended_has_time", `update jobs set state = 'done', result = '1', lease = 1, attempts = 1`},
		{"jobs_ended_has_time", `update jobs set state = 'cancelled'`},
		{"jobs_ended_has_time", `update jobs set finished_at = now()`},
		{"jobs_done_has_result", `update jobs set state = 'done', finished_at = now(), lease = 1, attempts = 1`},
		{"jobs_done_has_result", `update jobs set state = 'done', finished_at = now(), result = '1', attempts = 1`},
		{"jobs_done_has_result", `update jobs set state = 'done', finished_at = now(), result = '1', lease = 1`},
		{"jobs_failed_has_reason", `update jobs set state = 'failed', finished_at = now()`},
		{"jobs_delayed_has_time", `update jobs set state = 'delayed'`},
		{"jobs_key_has_hash", `update jobs set idempotency_key = 'k'`},
		{"jobs_key_has_hash", `update jobs set request_hash = 'h'`},
		{"jobs_key_length", `update jobs set idempotency_key = '', request_hash = 'h'`},
		{"jobs_key_length", `update jobs set idempotency_key = repeat('k', 256), request_hash = 'h'`},
		{"jobs_callback_length", `update jobs set callback_url = repeat('k', 2049)`},
		{"jobs_traceparent_length", `update jobs set traceparent = repeat('k', 129)`},
		{"attempts_number_range", `update attempts set number = 0`},
		{"attempts_outcome_known", `update attempts set outcome = 'fine', finished_at = now()`},
		{"attempts_ended_has_time", `update attempts set outcome = 'ok'`},
		{"attempts_ended_has_time", `update attempts set finished_at = now()`},
		{"attempts_running_is_free", `update attempts set charged = true`},
		{"claims_paired", `insert into claims (id, worker, line, job_ids, leases, deadline_at) values (gen_random_uuid(), 'w', 'l', array[gen_random_uuid()], '{}', now())`},
		{"job_types_priority_range", `update job_types set priority = 11`},
		{"job_types_max_attempts_range", `update job_types set max_attempts = 0`},
		{"job_types_paced_has_model", `update job_types set model = null`},
		{"job_types_unpaced_is_custom", `update job_types set upstream = null, custom = false`},
		{"api_keys_hash_length", `insert into api_keys (id, tenant, name, hash, scopes) values ('a', 't', 'n', 'short', '{}')`},
		{"api_keys_scopes_known", `insert into api_keys (id, tenant, name, hash, scopes) values ('a', 't', 'n', sha256('x'), '{root}')`},
		{"webhook_deliveries_ends_once", `insert into webhook_deliveries (job_id, tenant, url, event, delivered_at, failed_at) values (gen_random_uuid(), 't', 'u', 'job.done', now(), now())`},
		{"webhook_deliveries_open_is_due", `insert into webhook_deliveries (job_id, tenant, url, event, delivered_at, failed_at) values (gen_random_uuid(), 't', 'u', 'job.done', null, null)`},
		{"webhook_endpoints_url_length", `insert into webhook_endpoints (tenant, url, version) values ('t', repeat('u', 2049), 0)`},
		{"webhook_deliveries_event_known", `insert into webhook_deliveries (job_id, tenant, url, event, delivered_at, failed_at) values (gen_random_uuid(), 't', 'u', 'job.gone', now(), null)`},
	} {
		_, err := f.db.Exec(t.Context(), c.sql)
		var raised *pgconn.PgError
		if !errors.As(err, &raised) || raised.Code != "23514" || raised.ConstraintName != c.constraint {
			t.Errorf("%s: %v; want a violation of %s", c.sql, err, c.constraint)
		}
	}
}

-- Which credentials a provider refuses, so that one worker with an old key is parked alone. A credential goes by its
-- fingerprint, from which nobody learns the key.

-- +goose Up

alter table upstreams
    add column refused text[] not null default '{}', -- known to be refused, the latest last
    add column last_ok_by text,                      -- what succeeded at last_ok_at; null: not known
    add column suspect_credential text,              -- what was refused at suspect_at; null: not known
    add constraint upstreams_refused_few check (cardinality(refused) <= 8);

-- +goose StatementBegin
-- upstream_swap writes an upstream's row if it is still at the version that the caller read, and the event that goes with
-- a change of state. The caller computed the row without a lock; here, and only here, the lock is taken, and no client
-- waits under it. False: somebody else was first; read again. A row without an event is not waited for until it is on
-- disk: what a crash loses of counts and grants heals with the next answers. Besides each event, three things are told
-- at once: the first answer ever; the first sign of a limit, from which on calls need permits; and a suspicion of another
-- credential than the one that succeeded last, for now the others' successes are news.
create or replace function upstream_swap(upstream_name text, seen bigint, next_row jsonb, event jsonb default null) returns boolean
language plpgsql as $$
declare
    n upstreams := jsonb_populate_record(null::upstreams, next_row);
    was upstreams;
begin
    if event is null then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform pg_advisory_xact_lock(hashtextextended(current_schema() || '/upstream/' || upstream_name, 0));
    select * into was from upstreams where name = upstream_name;
    update upstreams u set
        state = n.state, reason = n.reason, failures = n.failures, opened_at = n.opened_at, retry_at = n.retry_at,
        closed_at = n.closed_at, heard_at = n.heard_at, last_ok_at = n.last_ok_at, generation = n.generation,
        version = u.version + 1, open_ms = n.open_ms, failing_jobs = n.failing_jobs,
        window_at = n.window_at, window_ok = n.window_ok, window_bad = n.window_bad,
        probe_id = n.probe_id, probe_worker = n.probe_worker, probe_until = n.probe_until, probe_job = n.probe_job,
        suspect_job = n.suspect_job, suspect_reason = n.suspect_reason, suspect_at = n.suspect_at,
        suspect_credential = n.suspect_credential, last_ok_by = n.last_ok_by,
        refused = coalesce(n.refused, u.refused), -- a process of the version before this one does not know of it
        quota = n.quota, quota_source = n.quota_source,
        requests_limit = n.requests_limit, requests_remaining = n.requests_remaining, requests_resets_at = n.requests_resets_at,
        tokens_limit = n.tokens_limit, tokens_remaining = n.tokens_remaining, tokens_resets_at = n.tokens_resets_at,
        project_tokens_limit = n.project_tokens_limit, project_tokens_remaining = n.project_tokens_remaining,
        project_tokens_resets_at = n.project_tokens_resets_at,
        observed_at = n.observed_at, updated_at = clock_timestamp()
    where u.name = upstream_name and u.version = seen;
    if not found then
        return false;
    end if;
    if event is not null then
        insert into breaker_events (upstream, from_state, to_state, reason, by)
        values (upstream_name, event->>'from_state', event->>'to_state', event->>'reason', event->>'by');
    end if;
    if event is not null
        or (was.heard_at is null and n.heard_at is not null)
        or (was.quota_source = '' and n.quota_source <> '')
        or (was.suspect_job is null and n.suspect_job is not null and n.suspect_credential is distinct from n.last_ok_by)
    then
        perform pg_notify('sluice_upstreams', upstream_name);
    end if;
    return true;
end $$;
-- +goose StatementEnd

-- +goose Down

-- +goose StatementBegin
-- upstream_swap writes an upstream's row if it is still at the version that the caller read, and the event that goes with
-- a change of state. The caller computed the row without a lock; here, and only here, the lock is taken, and no client
-- waits under it. False: somebody else was first; read again. A row without an event is not waited for until it is on
-- disk: what a crash loses of counts and grants heals with the next answers.
create or replace function upstream_swap(upstream_name text, seen bigint, next_row jsonb, event jsonb default null) returns boolean
language plpgsql as $$
declare
    n upstreams := jsonb_populate_record(null::upstreams, next_row);
    was_cold boolean;
begin
    if event is null then
        perform set_config('synchronous_commit', 'off', true);
    end if;
    perform pg_advisory_xact_lock(hashtextextended(current_schema() || '/upstream/' || upstream_name, 0));
    select heard_at is null into was_cold from upstreams where name = upstream_name;
    update upstreams u set
        state = n.state, reason = n.reason, failures = n.failures, opened_at = n.opened_at, retry_at = n.retry_at,
        closed_at = n.closed_at, heard_at = n.heard_at, last_ok_at = n.last_ok_at, generation = n.generation,
        version = u.version + 1, open_ms = n.open_ms, failing_jobs = n.failing_jobs,
        window_at = n.window_at, window_ok = n.window_ok, window_bad = n.window_bad,
        probe_id = n.probe_id, probe_worker = n.probe_worker, probe_until = n.probe_until, probe_job = n.probe_job,
        suspect_job = n.suspect_job, suspect_reason = n.suspect_reason, suspect_at = n.suspect_at,
        quota = n.quota, quota_source = n.quota_source,
        requests_limit = n.requests_limit, requests_remaining = n.requests_remaining, requests_resets_at = n.requests_resets_at,
        tokens_limit = n.tokens_limit, tokens_remaining = n.tokens_remaining, tokens_resets_at = n.tokens_resets_at,
        project_tokens_limit = n.project_tokens_limit, project_tokens_remaining = n.project_tokens_remaining,
        project_tokens_resets_at = n.project_tokens_resets_at,
        observed_at = n.observed_at, updated_at = clock_timestamp()
    where u.name = upstream_name and u.version = seen;
    if not found then
        return false;
    end if;
    if event is not null then
        insert into breaker_events (upstream, from_state, to_state, reason, by)
        values (upstream_name, event->>'from_state', event->>'to_state', event->>'reason', event->>'by');
    end if;
    if event is not null or (was_cold and n.heard_at is not null) then
        perform pg_notify('sluice_upstreams', upstream_name);
    end if;
    return true;
end $$;
-- +goose StatementEnd

alter table upstreams
    drop column refused,
    drop column last_ok_by,
    drop column suspect_credential;

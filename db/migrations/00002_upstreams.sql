-- What the whole fleet knows of a provider: one row an upstream, written only by upstream_swap, under its advisory lock.

-- +goose Up

create table upstreams (
    name         text primary key,
    state        text not null default 'closed',
    reason       text,
    failures     integer not null default 0,  -- in a row, over the whole fleet
    opened_at    timestamptz,
    retry_at     timestamptz,                 -- not before this is the next probe sent
    closed_at    timestamptz,
    heard_at     timestamptz,                 -- first answer ever; null: one call goes first
    last_ok_at   timestamptz,                 -- as far as reported: successes are reported in bulk, and only when they matter
    generation   bigint not null default 0,   -- of the state; an answer from before a change is not counted after it
    version      bigint not null default 0,   -- of the row; a swap that saw another one is tried again
    open_ms      bigint not null default 0,   -- how long the breaker was last told to stay open
    failing_jobs uuid[] not null default '{}', -- distinct, at most as many as it takes to trip
    window_at    timestamptz,                 -- start of the newest bucket of the two rings
    window_ok    integer[] not null default '{}',
    window_bad   integer[] not null default '{}',
    probe_id     uuid,                        -- the permit for the one call that may be made while not closed
    probe_worker text,
    probe_until  timestamptz,
    probe_job    uuid,                        -- of the latest probe: the next one takes another
    suspect_job    uuid,                      -- the first job that met 401, 403 or 404; a second one confirms it
    suspect_reason text,
    suspect_at     timestamptz,
    quota          json not null default '{}', -- the whole state of the quota; the columns below tell what people ask for
    quota_source   text not null default '',   -- headers, body, blind; '': nothing was heard of a limit
    requests_limit     bigint,
    requests_remaining bigint,                 -- as of observed_at: what the provider would say, minus what was granted
    requests_resets_at timestamptz,
    tokens_limit       bigint,
    tokens_remaining   bigint,
    tokens_resets_at   timestamptz,
    project_tokens_limit     bigint,
    project_tokens_remaining bigint,
    project_tokens_resets_at timestamptz,
    observed_at        timestamptz,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    constraint upstreams_state_known check (state in ('closed', 'open', 'half-open')),
    constraint upstreams_reason_known check (reason in ('failures', 'account', 'credentials', 'configuration', 'operator')),
    constraint upstreams_closed_has_no_reason check ((state = 'closed') = (reason is null)),
    constraint upstreams_open_has_times check (state = 'closed' or opened_at is not null),
    constraint upstreams_open_retries check (state <> 'open' or retry_at is not null or reason = 'operator'),
    constraint upstreams_probe_whole check ((probe_id is null) = (probe_worker is null) and (probe_id is null) = (probe_until is null)),
    constraint upstreams_half_open_probes check (state <> 'half-open' or probe_id is not null)
) with (fillfactor = 50);
alter table upstreams alter column quota set storage main; -- compressed, but in the row: it changes with each take

-- Every change of a breaker's state, for the audit.
create table breaker_events (
    id         bigint generated always as identity primary key,
    upstream   text not null,
    from_state text not null,
    to_state   text not null,
    reason     text,
    by         text not null,
    at         timestamptz not null default clock_timestamp(),
    constraint breaker_events_states_known check (from_state in ('closed', 'open', 'half-open') and to_state in ('closed', 'open', 'half-open'))
);
create index breaker_events_by_upstream on breaker_events (upstream, id desc);

-- +goose StatementBegin
-- upstream_swap writes an upstream's row if it is still at the version that the caller read, and the event that goes with
-- a change of state. The caller computed the row without a lock; here, and only here, the lock is taken, and no client
-- waits under it. False: somebody else was first; read again. A row without an event is not waited for until it is on
-- disk: what a crash loses of counts and grants heals with the next answers.
create function upstream_swap(upstream_name text, seen bigint, next_row jsonb, event jsonb default null) returns boolean
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

-- +goose StatementBegin
-- runnable_backlog counts the queued jobs that could start now: what an autoscaler should look at. Jobs behind an open
-- breaker are left out, so that an outage or a limit never scales the fleet into a wall.
create function runnable_backlog() returns bigint
language sql stable set search_path from current as $$
    select count(*) from ready r
    where (r.expires_at is null or r.expires_at > now())
      and not exists (select from upstreams u where u.name = r.line and u.state <> 'closed')
$$;
-- +goose StatementEnd

-- +goose Down
drop function runnable_backlog();
drop function upstream_swap(text, bigint, jsonb, jsonb);
drop table breaker_events, upstreams;

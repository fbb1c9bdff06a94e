-- The queue. `jobs` is the truth and `attempts` its history; both are public: people query them.
-- `ready`, `delayed`, `claims` and `cancels` are derived from `jobs` and serve only speed: they are narrow, so that the
-- fat rows need no index on anything that changes (an index on state or deadline would end their HOT updates).
-- Lock order, everywhere: the narrow row first, then the job, then the attempt.

-- +goose Up

-- +goose StatementBegin
-- uuid_v7 makes a job's id from the database's clock, so that ids sort by age whatever the clocks of the API's
-- hosts say. RFC 9562, version 7 with method 3: 48 bits of milliseconds, 12 bits of the fraction of one, 62 random.
create function uuid_v7() returns uuid
language sql volatile parallel safe as $$
    select encode(set_byte(set_byte(
        overlay(uuid_send(gen_random_uuid()) placing substring(int8send(us / 1000) from 3) from 1 for 6),
        6, 112 | (us % 1000 * 4096 / 1000 >> 8)::int),
        7, (us % 1000 * 4096 / 1000 & 255)::int), 'hex')::uuid
    from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us) clock
$$;
-- +goose StatementEnd

-- The configuration's types and their defaults, written by every process that starts, so that SQL can enqueue.
create table job_types (
    name         text primary key,
    upstream     text,
    model        text,
    models       text[] not null default '{}',
    custom       boolean not null default false,
    priority     smallint not null,
    max_attempts integer not null,
    timeout_ms   bigint not null,
    max_wait_ms  bigint,
    version      bigint not null,
    updated_at   timestamptz not null default now(),
    constraint job_types_priority_range check (priority between 1 and 10),
    constraint job_types_max_attempts_range check (max_attempts between 1 and 100),
    constraint job_types_paced_has_model check (upstream is null or model is not null),
    constraint job_types_unpaced_is_custom check (upstream is not null or custom)
);

-- The place in line: it only grows, and is not promised to be anything but an order. Not cached: a session that was idle
-- for a day would hand out yesterday's places, ahead of everybody.
create sequence jobs_seq as bigint;

create table jobs (
    id              uuid primary key default uuid_v7(),
    tenant          text not null default 'default',
    type            text not null,
    state           text not null,
    priority        smallint not null,
    payload         json not null,             -- json, not jsonb: the order of keys reaches the model
    attempts        integer not null default 0, -- charged tries; max_attempts bounds it
    max_attempts    integer not null,
    lease           bigint not null default 0,  -- grows with every claim; the number of the attempt's row
    worker          text,                       -- who holds the lease; null unless running
    upstream        text,                       -- null: a custom type that is not paced
    idempotency_key text,
    request_hash    bytea,                      -- of the request that brought the key
    callback_url    text,
    scheduled_at    timestamptz,                -- not before
    expires_at      timestamptz,                -- max_wait's end, while it waits
    deadline_at     timestamptz,                -- the lease's own end, whatever the heartbeat says
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    started_at      timestamptz,                -- of the latest attempt
    finished_at     timestamptz,
    held_at         timestamptz,                -- when the provider last refused the credential or the model with it
    seq             bigint not null default nextval('jobs_seq'),
    last_error      text,
    result          json,
    constraint jobs_state_known check (state in ('queued', 'delayed', 'running', 'done', 'failed', 'cancelled')),
    constraint jobs_priority_range check (priority between 1 and 10),
    constraint jobs_max_attempts_range check (max_attempts between 1 and 100),
    constraint jobs_attempts_range check (attempts between 0 and max_attempts),
    constraint jobs_lease_range check (lease >= 0),
    constraint jobs_running_has_lease check ((state = 'running') = (worker is not null)
        and (state <> 'running' or (lease > 0 and started_at is not null and deadline_at is not null))),
    constraint jobs_ended_has_time check ((state in ('done', 'failed', 'cancelled')) = (finished_at is not null)),
    constraint jobs_done_has_result check (state <> 'done' or (result is not null and lease > 0 and attempts > 0)),
    constraint jobs_failed_has_reason check (state <> 'failed' or last_error is not null),
    constraint jobs_delayed_has_time check (state <> 'delayed' or scheduled_at is not null),
    constraint jobs_key_has_hash check ((idempotency_key is null) = (request_hash is null)),
    constraint jobs_key_length check (length(idempotency_key) between 1 and 255),
    constraint jobs_callback_length check (length(callback_url) <= 2048)
) with (fillfactor = 70);
alter sequence jobs_seq owned by jobs.seq;

create index jobs_by_tenant on jobs (tenant, id desc);
create unique index jobs_idempotency on jobs (tenant, idempotency_key) where idempotency_key is not null;

-- One row a try, whatever became of it. Its outcome is null only while it runs.
create table attempts (
    job_id         uuid not null,
    number         bigint not null,
    worker         text not null,
    upstream       text,
    outcome        text,
    charged        boolean not null default false, -- counted against max_attempts
    status         integer,
    error          text,
    retry_after_ms bigint,
    request_id     text,
    input_tokens   bigint,
    output_tokens  bigint,
    started_at     timestamptz not null default now(),
    finished_at    timestamptz,
    primary key (job_id, number),
    constraint attempts_number_range check (number > 0),
    constraint attempts_outcome_known check (outcome in
        ('ok', 'rate_limited', 'rejected', 'held', 'error', 'lost', 'interrupted', 'cancelled')),
    constraint attempts_ended_has_time check ((outcome is null) = (finished_at is null)),
    constraint attempts_running_is_free check (outcome is not null or not charged)
) with (fillfactor = 80);

-- Queued jobs, in the order of their start. `line` is who waits together: the upstream, or the type where it is not paced.
create table ready (
    line       text not null,
    priority   smallint not null,
    seq        bigint not null,
    job_id     uuid not null,
    tenant     text not null,
    type       text not null,
    since      timestamptz not null,
    expires_at timestamptz,
    primary key (line, priority, seq)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02); -- every row of it is soon dead
create index ready_by_expiry on ready (expires_at) where expires_at is not null;

-- Delayed jobs, in the order in which they fall due.
create table delayed (
    due_at     timestamptz not null,
    job_id     uuid not null,
    tenant     text not null,
    line       text not null,
    expires_at timestamptz,
    primary key (due_at, job_id)
);
create index delayed_by_expiry on delayed (expires_at) where expires_at is not null;

-- Living workers. `beat` is a counter: whoever sees it unmoved for long enough on its own clock calls the worker dead.
create table workers (
    id          text primary key,
    beat        bigint not null default 0,
    types       text[] not null,
    concurrency integer not null,
    started_at  timestamptz not null default now(),
    seen_at     timestamptz not null default now()
) with (fillfactor = 50);

-- The leases that a claim gave: one row for each deadline among them. The worker reconciles its own with its memory (a
-- claim whose reply was lost is given back) and deletes them; rescue reads those of the dead and those past the deadline.
create table claims (
    id          uuid not null,
    worker      text not null,
    line        text not null,
    job_ids     uuid[] not null,
    leases      bigint[] not null,
    claimed_at  timestamptz not null default now(),
    deadline_at timestamptz not null,
    primary key (id, deadline_at),
    constraint claims_paired check (cardinality(job_ids) = cardinality(leases))
);
create index claims_by_worker on claims (worker);

-- Running jobs that were cancelled, until their worker has seen it.
create table cancels (
    worker text not null,
    job_id uuid not null,
    lease  bigint not null,
    primary key (worker, job_id, lease)
);

-- How many jobs ended, as deltas: appended with each end, compacted now and then, so that no counter row is hot
-- and no count reads the history.
create table ended_counts (
    tenant text not null,
    state  text not null,
    n      bigint not null
);

-- +goose Down
drop table ended_counts, cancels, claims, workers, delayed, ready, attempts, jobs, job_types;
drop function uuid_v7();

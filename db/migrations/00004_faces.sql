-- Who may do what, and whom to tell: hashes of API keys, and the record of each notification.

-- +goose Up

create table api_keys (
    id           text primary key,
    tenant       text not null,
    name         text not null,
    hash         bytea not null, -- SHA-256 of the secret; the secret itself is shown once and never stored
    scopes       text[] not null,
    created_at   timestamptz not null default now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    constraint api_keys_hash_length check (octet_length(hash) = 32),
    constraint api_keys_scopes_known check (scopes <@ array['enqueue', 'read', 'operate', 'admin'])
);

create table webhook_deliveries (
    id           uuid primary key default uuid_v7(),
    job_id       uuid not null,
    tenant       text not null,
    url          text not null,
    attempts     integer not null default 0,
    status       integer,
    last_error   text,
    due_at       timestamptz,
    created_at   timestamptz not null default now(),
    delivered_at timestamptz,
    failed_at    timestamptz,
    constraint webhook_deliveries_ends_once check (delivered_at is null or failed_at is null)
);

-- +goose Down
drop table webhook_deliveries, api_keys;

-- Whom to tell of a job's end. The row of a delivery is written by the statement that ends the job (pkg/queue); all that
-- becomes of it afterwards is pkg/webhook's.

-- +goose Up

-- The tenants' endpoints as the configuration has them, written by every worker that starts.
create table webhook_endpoints (
    tenant  text primary key,
    url     text not null,
    version bigint not null,
    constraint webhook_endpoints_url_length check (length(url) <= 2048)
);

alter table webhook_deliveries
    add column event text not null default 'job.done', -- what happened: the job's state, when it ended
    add column job json,                               -- the job as it ended, without payload and result
    add column tried_at timestamptz,                   -- the latest try
    -- Deliveries that share their slots: those of one tenant (the high half) to one host (the low half). Two hosts whose
    -- hashes are equal share too, which costs them time and nothing else.
    add column lane bigint generated always as (
        hashtext(tenant)::bigint << 32 | (hashtext(lower(substring(url from '^[^/]*//([^/?#]*)')))::bigint & 4294967295)) stored,
    add constraint webhook_deliveries_event_known check (event in ('job.done', 'job.failed', 'job.cancelled')),
    add constraint webhook_deliveries_open_is_due check ((due_at is null) = (delivered_at is not null or failed_at is not null));
alter table webhook_deliveries alter column event drop default;

create index webhook_deliveries_by_job on webhook_deliveries (job_id);
create index webhook_deliveries_by_lane on webhook_deliveries (lane, due_at) where due_at is not null;
create index webhook_deliveries_by_time on webhook_deliveries (due_at) where due_at is not null;

-- +goose Down
drop index webhook_deliveries_by_time, webhook_deliveries_by_lane, webhook_deliveries_by_job;
alter table webhook_deliveries
    drop constraint webhook_deliveries_open_is_due,
    drop constraint webhook_deliveries_event_known,
    drop column lane,
    drop column tried_at,
    drop column job,
    drop column event;
drop table webhook_endpoints;

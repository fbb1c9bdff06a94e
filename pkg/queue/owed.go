package queue

// owedSQL is the part of each statement that ends jobs which notes whom to tell: nothing is lost, and nothing told that did
// not happen. Its `job` is what ended, among others; the job's own URL goes before its tenant's endpoint. From then on a
// delivery is pkg/webhook's. A trigger would have to look for an endpoint once a row; this costs a batch one look at a small table.
const owedSQL = `owed as (
    insert into webhook_deliveries (job_id, tenant, url, event, job, due_at)
    select j.id, j.tenant, coalesce(j.callback_url, e.url), 'job.' || j.state, json_build_object(
        'id', j.id, 'tenant', j.tenant, 'type', j.type, 'state', j.state, 'priority', j.priority, 'attempts', j.attempts,
        'max_attempts', j.max_attempts, 'lease', j.lease, 'worker', j.worker, 'upstream', j.upstream,
        'idempotency_key', j.idempotency_key, 'callback_url', j.callback_url, 'scheduled_at', j.scheduled_at,
        'expires_at', j.expires_at, 'deadline_at', j.deadline_at, 'created_at', j.created_at, 'updated_at', j.updated_at,
        'started_at', j.started_at, 'finished_at', j.finished_at, 'held_at', j.held_at, 'last_error', j.last_error), now()
    from job j left join webhook_endpoints e on e.tenant = j.tenant
    where j.state in ('done', 'failed', 'cancelled') and (j.callback_url is not null or e.url is not null)
)`

-- Enqueueing from SQL, inside the application's own transaction, within the bounds that hold over HTTP.

-- +goose Up

-- +goose StatementBegin
-- payload_fault says in words why a payload cannot be kept or sent truly, naming the field; null: it can. It reads the
-- text and not its jsonb, which knows only the last of two members of one name, and fewer numbers than float64 does.
create function payload_fault(payload json) returns text
language plpgsql immutable as $$
declare
    escapes text; -- the text without escaped backslashes: what looks like an escape in it is one
    bare text;    -- the text without strings
begin
    if payload is null then
        return 'payload: is required';
    end if;
    if octet_length(payload::text) > 1048576 then
        return 'payload: is larger than 1 MiB';
    end if;
    if json_typeof(payload) <> 'object' then
        return 'payload: must be an object';
    end if;

    escapes := replace(payload::text, '\\', '');
    if strpos(escapes, '\u0000') > 0 then
        return 'payload: must not contain \u0000';
    end if;
    if strpos(lower(escapes), '\ud') > 0
            and regexp_replace(escapes, '\\u[dD][89abAB]..\\u[dD][c-fC-F]..', '', 'g') ~ '\\u[dD][89a-fA-F]' then
        return 'payload: must be valid UTF-8 without lone surrogates';
    end if;

    bare := regexp_replace(replace(escapes, '\"', ''), '"[^"]*"', '', 'g');
    if exists (select from regexp_matches(bare, '(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?', 'g') m where float64_overflows(m[1], m[2], m[3])) then
        return 'payload: has a number that does not fit a float64';
    end if;
    -- Of the brackets alone, each round takes the innermost pairs away.
    bare := regexp_replace(bare, '[^][{}]+', '', 'g');
    for level in 1..100 loop
        exit when bare = '';
        bare := replace(replace(replace(bare, '[]', ' '), '{}', ' '), ' ', '');
    end loop;
    if bare <> '' then
        return 'payload: must not be nested more than 100 levels deep';
    end if;
    return null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- float64_overflows tells whether the number "whole.fraction e exponent" is at least 2^1024 - 2^970, from where on it is
-- rounded to infinity. It goes by the digits, because numeric ends where JSON goes on.
create function float64_overflows(whole text, fraction text, exponent text) returns boolean
language plpgsql immutable as $$
declare
    digits text := ltrim(whole || coalesce(fraction, ''), '0');
    place numeric; -- of the first digit that counts: 2 in 123
begin
    if digits = '' or (exponent is null and length(whole) < 309) then
        return false;
    end if;
    if length(exponent) > 20 then -- more zeros or nines than any payload has digits
        exponent := case when exponent like '-%' then '-' else '' end || coalesce(nullif(right(ltrim(exponent, '+-0'), 20), ''), '0');
    end if;
    place := length(whole) - 1 - (length(whole || coalesce(fraction, '')) - length(digits)) + coalesce(exponent::numeric, 0);
    return place > 308 or (place = 308
        and digits collate "C" >= trunc(power(2::numeric, 1024) - power(2::numeric, 970))::text);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- prompt_fault says what the built-in handler would refuse in a payload, naming the field; null: nothing.
create function prompt_fault(payload json, model text, models text[]) returns text
language plpgsql immutable as $$
declare
    messages json := payload->'messages';
    input json := payload->'input';
    request json := payload->'request';
    repeated text;
    refused text;
begin
    select k into repeated from json_object_keys(payload) k where k in ('messages', 'input', 'request') group by k having count(*) > 1;
    if repeated is not null then
        return format('payload.%s: is given twice', repeated);
    end if;
    if messages is null and input is null then
        return 'payload: must have messages or input';
    end if;
    if messages is not null and input is not null then
        return 'payload: must have messages or input, not both';
    end if;
    if messages is not null and (json_typeof(messages) <> 'array' or json_array_length(messages) = 0) then
        return 'payload.messages: must be an array that is not empty';
    end if;
    if input is not null and not coalesce(case json_typeof(input)
            when 'string' then payload->>'input' <> ''
            when 'array' then json_array_length(input) > 0 end, false) then
        return 'payload.input: must be a string or an array that is not empty';
    end if;
    if request is null then
        return null;
    end if;
    if json_typeof(request) <> 'object' then
        return 'payload.request: must be an object';
    end if;
    select k into repeated from json_object_keys(request) k group by k having count(*) > 1 limit 1;
    if repeated is not null then
        return format('payload.request.%s: is given twice', repeated);
    end if;
    select k into refused from json_object_keys(request) k where k in ('input', 'messages', 'stream', 'background') limit 1;
    if refused is not null then
        return format('payload.request.%s: is not for the payload to set', refused);
    end if;
    if request->'model' is not null
            and not (json_typeof(request->'model') = 'string' and request->>'model' = any (models || model)) then
        return format('payload.request.model: must be %s', array_to_string(model || models, ' or '));
    end if;
    if json_typeof(request->'instructions') not in ('string', 'null') then
        return 'payload.request.instructions: must be a string or null';
    end if;
    return null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- enqueue_job enqueues one job in the caller's transaction and returns its id. A field out of bounds raises SQLSTATE
-- 22023 with the field named. A past scheduled_at means now. With a key that the tenant used before, the first job's id
-- is returned, or 22023 where the request was another one.
create function enqueue_job(
    type text,
    payload json,
    priority integer default null,
    max_attempts integer default null,
    scheduled_at timestamptz default null,
    idempotency_key text default null,
    tenant text default 'default'
) returns uuid
language plpgsql set search_path from current as $$ -- the application may have another one
#variable_conflict use_column
declare
    t job_types;
    j jobs;
    fault text;
    waits boolean;
begin
    select * into t from job_types where name = enqueue_job.type;
    fault := case
        when enqueue_job.type is null then 'type: is required'
        when t.name is null then format('type: %s is not a type of the configuration', enqueue_job.type)
        when enqueue_job.priority not between 1 and 10 then 'priority: must be from 1 to 10'
        when enqueue_job.max_attempts not between 1 and 100 then 'max_attempts: must be from 1 to 100'
        when enqueue_job.scheduled_at > clock_timestamp() + interval '30 days' then 'scheduled_at: must be at most 30 days ahead'
        when enqueue_job.scheduled_at < '0001-01-01 00:00:00Z' then 'scheduled_at: must be a time of our era'
        when length(enqueue_job.idempotency_key) not between 1 and 255 then 'idempotency_key: must have 1 to 255 characters'
        when coalesce(length(enqueue_job.tenant), 0) not between 1 and 255 then 'tenant: must have 1 to 255 characters'
        else coalesce(payload_fault(enqueue_job.payload),
            case when not t.custom then prompt_fault(enqueue_job.payload, t.model, t.models) end)
        end;
    if fault is not null then
        raise exception using errcode = '22023', message = fault;
    end if;

    waits := coalesce(enqueue_job.scheduled_at > clock_timestamp(), false);
    j.id := uuid_v7();
    j.upstream := case
        when t.upstream is null then null
        when t.custom then t.upstream || ':' || t.model
        else t.upstream || ':' || coalesce(enqueue_job.payload->'request'->>'model', t.model) end;
    j.priority := coalesce(enqueue_job.priority, t.priority);
    j.expires_at := case when t.max_wait_ms is not null
        then greatest(clock_timestamp(), enqueue_job.scheduled_at) + t.max_wait_ms * interval '1 millisecond' end;
    j.seq := nextval('jobs_seq');
    j.request_hash := case when enqueue_job.idempotency_key is not null then sha256(convert_to(concat_ws(E'\n',
        enqueue_job.type, coalesce(enqueue_job.priority::text, ''), coalesce(enqueue_job.max_attempts::text, ''),
        coalesce(to_char(enqueue_job.scheduled_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), ''), '', '',
        enqueue_job.payload::text), 'UTF8')) end;

    insert into jobs (id, tenant, type, state, priority, payload, max_attempts, upstream, idempotency_key, request_hash,
        scheduled_at, expires_at, created_at, updated_at, seq)
    values (j.id, enqueue_job.tenant, t.name, case when waits then 'delayed' else 'queued' end, j.priority, enqueue_job.payload,
        coalesce(enqueue_job.max_attempts, t.max_attempts), j.upstream, enqueue_job.idempotency_key, j.request_hash,
        enqueue_job.scheduled_at, j.expires_at, clock_timestamp(), clock_timestamp(), j.seq)
    on conflict (tenant, idempotency_key) where idempotency_key is not null do nothing;
    if not found then
        return enqueued_before(enqueue_job.tenant, enqueue_job.idempotency_key, j.request_hash);
    end if;
    if waits then
        insert into delayed (due_at, job_id, tenant, line, expires_at)
        values (enqueue_job.scheduled_at, j.id, enqueue_job.tenant, coalesce(j.upstream, t.name), j.expires_at);
    else
        insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
        values (coalesce(j.upstream, t.name), j.priority, j.seq, j.id, enqueue_job.tenant, t.name, clock_timestamp(), j.expires_at);
    end if;
    return j.id;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- enqueued_before answers a key that is taken: the first job's id for the same request, 22023 for another.
create function enqueued_before(tenant text, idempotency_key text, request_hash bytea) returns uuid
language plpgsql as $$
declare
    first jobs;
begin
    select * into first from jobs j
    where j.tenant = enqueued_before.tenant and j.idempotency_key = enqueued_before.idempotency_key;
    if first.request_hash is distinct from enqueued_before.request_hash then
        raise exception using errcode = '22023', message = 'idempotency_key: was used before with another request';
    end if;
    return first.id;
end $$;
-- +goose StatementEnd

-- +goose Down
drop function enqueue_job(text, json, integer, integer, timestamptz, text, text);
drop function enqueued_before(text, text, bytea);
drop function prompt_fault(json, text, text[]);
drop function payload_fault(json);
drop function float64_overflows(text, text, text);

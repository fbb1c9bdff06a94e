-- What a spent quota holds back cannot start now, and who follows the backlog must not start workers for it.

-- +goose Up

-- +goose StatementBegin
-- runnable_backlog counts the queued jobs that could start now: what an autoscaler should look at. Jobs behind an open
-- breaker are left out, and of those behind a limit all that it does not let start now, so that neither an outage nor a
-- limit ever scales the fleet into a wall. Whoever asks needs no right to any table.
create or replace function runnable_backlog() returns bigint
language sql stable security definer as $$
    select coalesce(sum(case
        when u.state <> 'closed' or now() < l.at then 0
        when l.at is null then w.n
        else least(w.n, l.room + coalesce(l.pace, 0) * extract(epoch from now() - l.at))
        end), 0)::bigint
    from (select line, count(*) n from ready where expires_at is null or expires_at > now() group by line) w
    left join upstreams u on u.name = w.line
    left join lateral json_to_record(u.quota -> 'next') l(at timestamptz, room int, pace float) on true
$$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Temporary tables come last: whoever asks must not lend it his own.
do $$ begin
    execute format('alter function runnable_backlog() set search_path = %I, pg_temp', current_schema());
end $$;
-- +goose StatementEnd

-- +goose Down

-- +goose StatementBegin
create or replace function runnable_backlog() returns bigint
language sql stable set search_path from current as $$
    select count(*) from ready r
    where (r.expires_at is null or r.expires_at > now())
      and not exists (select from upstreams u where u.name = r.line and u.state <> 'closed')
$$;
-- +goose StatementEnd

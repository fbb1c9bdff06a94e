package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedev/sluice/pkg/pg"
)

const (
	leaseFor   = time.Minute         // of a try whose end was not recorded; then another may make it
	keepFor    = 30 * 24 * time.Hour // a row, from the job's end
	pruneSize  = 1000                // rows of a statement
	maxLanes   = 256                 // that one claim looks at
	tenantTurn = 16                  // of them, of one tenant
)

// delivery is a row under lease. attempts is the number of this try, and the fence of its record.
type delivery struct {
	id          uuid.UUID
	attempts    int
	lane        int64
	tenant, url string
	event       string
	job, result json.RawMessage
	age         time.Duration // of the job's end
	now         time.Time     // the database's
	claimed     time.Time     // by the local clock
}

// A lane is the deliveries of one tenant to one host. walk goes from lane to lane by the index, whatever is behind each, and
// after a few lanes of one tenant (the first, and those from $11 on) on to the next; of each it takes what is due and fits
// beside what is in flight, in turns: every tenant one, before any has two. A done job never changes, so its result is read here instead of being kept twice.
const claimSQL = `
with recursive walk as (
    (select lane, 1 as n, 1 as steps from webhook_deliveries where due_at is not null and lane >= $1 order by lane limit 1)
    union all
    select next.lane, case when next.lane >> 32 = w.lane >> 32 then w.n + 1 else 1 end, w.steps + 1
    from walk w cross join lateral (
        select d.lane from webhook_deliveries d
        where d.due_at is not null and d.lane > case w.n
            when $9 then w.lane | 4294967295
            when 1 then greatest(w.lane, (w.lane >> 32 << 32) + $11)
            else w.lane end
        order by d.lane limit 1) next
    where w.steps < $8
), busy as (
    select lane, n from unnest($2::bigint[], $3::bigint[]) as b(lane, n)
), due as (
    select d.id, d.due_at, w.lane, row_number() over (partition by w.lane order by d.due_at)
        + coalesce((select n from busy b where b.lane = w.lane), 0) as place
    from walk w cross join lateral (
        select id, due_at from webhook_deliveries where lane = w.lane and due_at <= now() order by due_at limit $5) d
), turns as (
    select id, row_number() over (partition by lane >> 32 order by place, due_at)
        + coalesce((select sum(n) from busy b where b.lane >> 32 = due.lane >> 32), 0) as turn
    from due where place <= $5
), mine as materialized (
    select id from webhook_deliveries
    where id = any (array(select id from turns where turn <= $6 order by turn limit $4)) and due_at <= now()
    for update skip locked
)
update webhook_deliveries d set attempts = attempts + 1, tried_at = now(), due_at = now() + $7 * interval '1 millisecond'
where d.id = any (array(select id from mine))
returning d.id, d.attempts, d.lane, d.tenant, d.url, d.event, d.job, (extract(epoch from now() - d.created_at) * 1000)::bigint, now(), (
    select case when pg_column_size(j.result) <= $10 then case when octet_length(j.result::text) <= $10 then
        json_build_object('output_text', j.result->'output_text', 'usage', j.result->'usage') end end
    from jobs j where j.id = d.job_id and d.event = 'job.done')`

// place is where a walk begins: with which tenant, and where among the hosts of each.
type place struct {
	lane int64
	host uint32
}

// first is the place from which nothing is left out, unless there is too much of it; anywhere gives all an equal chance then.
var first = place{lane: math.MinInt64}

func anywhere() place { return place{int64(rand.Uint64()), rand.Uint32()} }

// claim leases up to slots deliveries that are due, beside those in flight.
func claim(ctx context.Context, db pg.DB, from place, inFlight map[int64]int, slots int) ([]delivery, error) {
	lanes, counts := make([]int64, 0, len(inFlight)), make([]int64, 0, len(inFlight))
	for lane, n := range inFlight {
		lanes, counts = append(lanes, lane), append(counts, int64(n))
	}
	began := time.Now()
	rows, err := db.Query(ctx, claimSQL, from.lane, lanes, counts, slots, maxHostCalls, maxTenantCalls,
		leaseFor.Milliseconds(), maxLanes, tenantTurn, maxResult, int64(from.host))
	if err != nil {
		return nil, fmt.Errorf("claim webhooks: %w", err)
	}
	claimed, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (d delivery, err error) {
		var age int64
		err = r.Scan(&d.id, &d.attempts, &d.lane, &d.tenant, &d.url, &d.event, &d.job, &age, &d.now, &d.result)
		d.age, d.claimed = time.Duration(age)*time.Millisecond, began
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim webhooks: %w", err)
	}
	return claimed, nil
}

// record is what is written of a try. No delay: there is no other one.
type record struct {
	id       uuid.UUID
	attempts int
	status   *int
	err      *string // nil: delivered
	delay    *int64  // milliseconds
}

const recordSQL = `
update webhook_deliveries d set
    status = g.status, last_error = g.error,
    delivered_at = case when g.error is null then now() end,
    failed_at = case when g.error is not null and g.delay_ms is null then now() end,
    due_at = case when g.error is not null then now() + g.delay_ms * interval '1 millisecond' end
from unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::bigint[]) as g(id, attempts, status, error, delay_ms)
where d.id = any ($1) and d.id = g.id and d.attempts = g.attempts and d.due_at is not null`

// write records how tries ended. One whose lease ran out, and that another has made since, changes nothing.
func write(ctx context.Context, db pg.DB, records []record) error {
	_, err := db.Exec(ctx, recordSQL,
		column(records, func(r record) pgtype.UUID { return pgtype.UUID{Bytes: r.id, Valid: true} }), // in every mode of pgx
		column(records, func(r record) int { return r.attempts }),
		column(records, func(r record) *int { return r.status }),
		column(records, func(r record) *string { return r.err }),
		column(records, func(r record) *int64 { return r.delay }))
	if err != nil {
		return fmt.Errorf("record webhooks: %w", err)
	}
	return nil
}

func column[T any](records []record, value func(record) T) []T {
	values := make([]T, len(records))
	for i, r := range records {
		values[i] = value(r)
	}
	return values
}

// Ids sort by age.
const pruneSQL = `
with oldest as (select id, created_at from webhook_deliveries order by id limit $1)
delete from webhook_deliveries where id = any (array(
    select id from oldest where created_at < now() - $2 * interval '1 millisecond'))`

// prune deletes rows whose time is over, and tells how many.
func prune(ctx context.Context, db pg.DB) (int64, error) {
	tag, err := db.Exec(ctx, pruneSQL, pruneSize, keepFor.Milliseconds())
	if err != nil {
		return 0, fmt.Errorf("prune webhooks: %w", err)
	}
	return tag.RowsAffected(), nil
}

// Rows are written in one order, so that workers that start at the same moment wait for each other.
const syncSQL = `
with given as (
    select tenant, url from unnest($1::text[], $2::text[]) as g(tenant, url)
), gone as (
    delete from webhook_endpoints e where e.version <= $3 and not exists (select from given g where g.tenant = e.tenant)
)
insert into webhook_endpoints as e (tenant, url, version)
select tenant, url, $3 from given order by tenant
on conflict (tenant) do update set url = excluded.url, version = excluded.version
where e.version <= excluded.version and (e.url, e.version) is distinct from (excluded.url, excluded.version)`

// Sync writes the tenants' endpoints to webhook_endpoints, where the statements that end jobs find them. Of two
// configurations that differ the higher version wins; with equal versions the later start does.
func Sync(ctx context.Context, db pg.DB, version int64, endpoints map[string]string) error {
	tenants, urls := make([]string, 0, len(endpoints)), make([]string, 0, len(endpoints))
	for tenant, url := range endpoints {
		tenants, urls = append(tenants, tenant), append(urls, url)
	}
	err := pg.Retry(ctx, func() error {
		_, err := db.Exec(ctx, syncSQL, tenants, urls, version)
		return err
	})
	if err != nil {
		return fmt.Errorf("sync webhook endpoints: %w", err)
	}
	return nil
}

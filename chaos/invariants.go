package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// violation is an invariant that does not hold, and what shows it: ids of jobs (or job/number of attempts) first.
type violation struct {
	invariant string
	offenders []string
}

func (v violation) String() string {
	shown := v.offenders
	if len(shown) > 5 {
		shown = append(slices.Clone(shown[:5]), fmt.Sprintf("and %d more", len(v.offenders)-5))
	}
	return fmt.Sprintf("VIOLATED: %s: %s", v.invariant, strings.Join(shown, ", "))
}

// invariant is a query for offenders. $1 is how long, in seconds, something may take that is still under way.
type invariant struct {
	holds string
	sql   string
	atEnd bool // only when all has ended
}

var invariants = []invariant{
	{holds: "what has ended changes by a retry alone, a lease by a claim or a cancel, an attempt never its worker", sql: `
		select id || ': ' || coalesce(was::json ->> 'state', was::json ->> 'outcome', 'open') || ' became ' ||
			case when became = 'deleted' then became else coalesce(became::json ->> 'state', became::json ->> 'outcome', 'open') end
		from chaos.changes where $1 >= 0`},
	{holds: "a done job has one ok attempt, any other has none", sql: `
		select j.id || ': ' || j.state || ', ' || coalesce(a.ok, 0) || ' ok'
		from jobs j left join (select job_id, count(*) ok from attempts where outcome = 'ok' group by 1) a on a.job_id = j.id
		where coalesce(a.ok, 0) <> (j.state = 'done')::int and $1 >= 0`},
	{holds: "each number up to a job's lease is that of one attempt, or of the cancel of one", sql: `
		select j.id || ': ' || j.state || ', lease ' || j.lease || ', ' || coalesce(taken.n, 0) || ' numbers up to ' || coalesce(taken.top, 0)
		from jobs j left join (
			select job_id, count(*) n, count(distinct number) kinds, max(number) top
			from (select job_id, number from attempts
				union all select job_id, lease from chaos.orders where verb = 'cancel' and was = 'running') either
			group by 1) taken on taken.job_id = j.id
		where $1 >= 0 and (j.lease, j.lease, j.lease) <> (coalesce(taken.n, 0), coalesce(taken.kinds, 0), coalesce(taken.top, 0))`},
	{holds: "jobs.attempts is the number of charged attempts since the last retry by hand", sql: `
		select j.id || ': ' || j.attempts || ', and ' || coalesce(a.n, 0) || ' are charged'
		from jobs j left join (
			select job_id, count(*) n
			from attempts left join (select job_id, max(lease) lease from chaos.orders where verb = 'retry' group by 1) life using (job_id)
			where charged and number > coalesce(life.lease, 0) group by 1) a on a.job_id = j.id
		where j.attempts <> coalesce(a.n, 0) and $1 >= 0`},
	{holds: "what is nobody's fault is not charged", sql: `
		select job_id || '/' || number || ': ' || outcome from attempts
		where charged and outcome in ('interrupted', 'held', 'rate_limited', 'cancelled') and $1 >= 0`},
	{holds: "a failed job has used up its attempts or was refused", sql: `
		select j.id || ': ' || j.attempts || ' of ' || j.max_attempts || ', ' || j.last_error from jobs j
		where j.state = 'failed' and j.attempts < j.max_attempts and $1 >= 0
		  and not exists (select from attempts a where a.job_id = j.id and a.number = j.lease and a.outcome = 'rejected')`},
	{holds: "an open attempt is that of the job's lease and its holder", sql: `
		select a.job_id || '/' || a.number || ': ' || a.worker || ', job ' || j.state || ', lease ' || j.lease || ' of ' || coalesce(j.worker, 'nobody')
		from attempts a join jobs j on j.id = a.job_id
		where a.outcome is null and not (j.state = 'running' and j.lease = a.number and j.worker = a.worker)
		  and not exists (select from chaos.orders o where o.job_id = a.job_id and o.verb = 'cancel' and o.was = 'running'
			and o.lease = a.number + 1 and o.at > now() - $1 * interval '1 second')`},
	{holds: "a running job has an open attempt", sql: `
		select j.id || ': lease ' || j.lease from jobs j
		where j.state = 'running' and $1 >= 0
		  and not exists (select from attempts a where a.job_id = j.id and a.number = j.lease and a.worker = j.worker and a.outcome is null)`},
	{holds: "nothing runs for longer than its time-out and death detection allow", sql: `
		select id || ': since ' || started_at || ' under ' || worker from jobs
		where state = 'running' and started_at < now() - $1 * interval '1 second'`},
	{holds: "a queued job is in ready, a delayed one in delayed", sql: `
		select j.id || ': ' || j.state from jobs j
		where $1 >= 0 and (j.state = 'queued' and not exists (select from ready r where r.job_id = j.id)
		   or j.state = 'delayed' and not exists (select from delayed d where d.job_id = j.id and d.due_at = j.scheduled_at))`},
	{holds: "an Idempotency-Key has one job", sql: `
		select idempotency_key || ': ' || count(*) from jobs
		where idempotency_key is not null and $1 >= 0 group by tenant, idempotency_key having count(*) > 1`},
	{holds: "ended_counts has each ended job once", sql: `
		select state || ': ' || coalesce(j.n, 0) || ' jobs, counted as ' || coalesce(c.n, 0)
		from (select state, count(*) n from jobs where finished_at is not null group by 1) j
		full join (select state, sum(n) n from ended_counts group by 1) c using (state)
		where coalesce(j.n, 0) <> coalesce(c.n, 0) and $1 >= 0`},
	{holds: "ended has each failed or cancelled job once, and no other", sql: `
		select coalesce(j.id, e.job_id) || ': ' || coalesce(j.state, 'no such job') || ', in ended as ' || coalesce(e.state, 'nothing')
		from (select id, tenant, state from jobs where state in ('failed', 'cancelled')) j
		full join ended e on (e.job_id, e.tenant, e.state) = (j.id, j.tenant, j.state)
		where (j.id is null or e.job_id is null) and $1 >= 0`},
	{atEnd: true, holds: "nobody is in ready or delayed who does not wait", sql: `
		select job_id || ': ready' from ready where $1 >= 0 union all select job_id || ': delayed' from delayed`},
	{atEnd: true, holds: "every job has ended", sql: `
		select id || ': ' || state || coalesce(', ' || last_error, '') from jobs
		where state not in ('done', 'failed', 'cancelled') and $1 >= 0`},
}

// check looks at everything that must hold now. What it reads of the database is one snapshot.
func (r *rig) check(ctx context.Context, atEnd bool) ([]violation, error) {
	promised := r.ledger.copy() // first: what is promised is in the database by then
	before := r.simulator.Calls()
	found := append(promised.broken(), r.fleet.broken()...)
	tx, err := r.postgres.admin.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	for _, check := range []func() ([]violation, error){
		func() ([]violation, error) { return r.checkRows(ctx, tx, atEnd) },
		func() ([]violation, error) { return checkPromises(ctx, tx, promised) },
		func() ([]violation, error) { return checkOrders(ctx, tx, promised, r.ledger.copy()) },
		func() ([]violation, error) { return r.checkCalls(ctx, tx, before) },
	} {
		more, err := check()
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func (r *rig) checkRows(ctx context.Context, tx pgx.Tx, atEnd bool) (found []violation, err error) {
	slack := detectionSlack + r.vigil.missed(time.Now().Add(-time.Minute))
	grace := (callTimeout + r.fleet.deadAfter + slack).Seconds()
	if atEnd {
		grace = 0
	}
	for _, inv := range invariants {
		if inv.atEnd && !atEnd {
			continue
		}
		offenders, err := texts(ctx, tx, inv.sql, grace)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", inv.holds, err)
		}
		if len(offenders) > 0 {
			found = append(found, violation{inv.holds, offenders})
		}
	}
	return found, nil
}

func checkPromises(ctx context.Context, tx pgx.Tx, promised *ledger) ([]violation, error) {
	lost, err := texts(ctx, tx, `select id from unnest($1::text[]) as u(id) where not exists (select from jobs j where j.id = u.id::uuid)`, promised.accepted)
	if err != nil {
		return nil, err
	}
	undone, err := texts(ctx, tx, `select id || ': ' || state from jobs where id = any ($1::uuid[]) and state <> 'done'`, promised.done)
	return broken(violation{"what was accepted exists", lost}, violation{"what was seen done is done", undone}), err
}

// broken are those of some invariants that somebody offends.
func broken(all ...violation) []violation {
	return slices.DeleteFunc(all, func(v violation) bool { return len(v.offenders) == 0 })
}

// checkCalls compares the provider's log, as it was before the snapshot, with the attempts in it; and the attempts with the
// log as it is now.
func (r *rig) checkCalls(ctx context.Context, tx pgx.Tx, before []llmtest.Call) ([]violation, error) {
	outcomes := map[string]string{}
	var id, outcome string
	rows, err := tx.Query(ctx, `select job_id || '/' || number, coalesce(outcome, '') from attempts`)
	if err != nil {
		return nil, err
	}
	if _, err := pgx.ForEachRow(rows, []any{&id, &outcome}, func() error { outcomes[id] = outcome; return nil }); err != nil {
		return nil, err
	}
	sleep(ctx, 500*time.Millisecond) // the log of a call is closed a moment after its answer has gone
	answered := map[string]bool{}
	for _, c := range r.simulator.Calls() {
		answered[c.ID] = answered[c.ID] || c.Status == 200
	}
	var strangers, twice, unheard []string
	seen := map[string]bool{}
	for _, c := range before {
		if _, known := outcomes[c.ID]; !known {
			strangers = append(strangers, c.ID)
		}
		if seen[c.ID] {
			twice = append(twice, c.ID)
		}
		seen[c.ID] = true
	}
	for id, outcome := range outcomes {
		if outcome == "ok" && !answered[id] {
			unheard = append(unheard, id)
		}
	}
	return broken(violation{"each call has its attempt", strangers}, violation{"no two calls have one id", twice},
		violation{"each ok attempt has a call that was answered", unheard}), nil
}

// texts are the rows of a query with one column.
func texts(ctx context.Context, db interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
}, sql string, args ...any) ([]string, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

const (
	dumpSQL = `
select to_json(j)::text from jobs j where id = $1::uuid
union all select to_json(a)::text from (select * from attempts where job_id = $1::uuid order by number) a
union all select to_json(o)::text from (select * from chaos.orders where job_id = $1::uuid order by at) o
union all select to_json(c)::text from chaos.changes c where left(c.id, 36) = $1::uuid::text`
	dumpMost = 20 // offenders of one invariant
)

// dump writes all that is known of the offenders into the rig's folder.
func (r *rig) dump(ctx context.Context, found []violation) error {
	var text strings.Builder
	calls := map[string][]llmtest.Call{}
	for _, c := range r.simulator.Calls() {
		job, _, _ := strings.Cut(c.ID, "/")
		calls[job] = append(calls[job], c)
	}
	for _, v := range found {
		fmt.Fprintf(&text, "\n%s\n", v.invariant)
		for _, offender := range v.offenders[:min(dumpMost, len(v.offenders))] {
			fmt.Fprintf(&text, "\n%s\n", offender)
			if len(offender) < uuidLength || strings.Count(offender[:uuidLength], "-") != 4 {
				continue // no job
			}
			lines, err := texts(ctx, r.postgres.admin, dumpSQL, offender[:uuidLength])
			if err != nil {
				lines = []string{err.Error()}
			}
			for _, call := range calls[offender[:uuidLength]] {
				line, err := json.Marshal(call)
				if err != nil {
					return err
				}
				lines = append(lines, string(line))
			}
			fmt.Fprintln(&text, strings.Join(lines, "\n"))
		}
	}
	return os.WriteFile(filepath.Join(r.dir, "violations.txt"), []byte(text.String()), 0o644)
}

const uuidLength = 36

package queue

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// Sight is what a worker sees in one look.
type Sight struct {
	Beats   map[string]int64 // every worker's counter
	Cancels []Lease          // of its own running jobs, each told once
	Waiting []string         // lines in which anybody is queued
	Due     bool             // delayed jobs have fallen due: Promote
	Late    bool             // the max_wait of waiting jobs is over: Expire
	Lost    bool             // there are claims of the dead, or past their deadline: Rescue
	Owed    bool             // deliveries of webhooks are due: pkg/webhook
}

// An idle fleet costs Postgres this statement a worker and look, and next to nothing else. Lines are found by a loose index
// scan, which looks at one row of each.
const lookSQL = `
with recursive lines as (
    (select line from ready order by line limit 1)
    union all
    select (select r.line from ready r where r.line > lines.line order by r.line limit 1) from lines where lines.line is not null
), mine as (
    delete from cancels where worker = $1 returning job_id, lease
)
select
    (select coalesce(array_agg(id order by id), '{}') from workers),
    (select coalesce(array_agg(beat order by id), '{}') from workers),
    (select coalesce(array_agg(job_id order by job_id, lease), '{}') from mine),
    (select coalesce(array_agg(lease order by job_id, lease), '{}') from mine),
    (select coalesce(array_agg(line), '{}') from lines where line is not null),
    exists (select from delayed where due_at <= now()),
    exists (select from ready where expires_at <= now()) or exists (select from delayed where expires_at <= now()),
    exists (select from claims c where ` + lostSQL + `),
    exists (select from webhook_deliveries where due_at <= now())`

// Look tells a worker all that may need it.
func (q *Queue) Look(ctx context.Context, worker string) (Sight, error) {
	var s Sight
	var workers []string
	var beats, leases []int64
	var cancelled []uuid.UUID
	err := q.db.QueryRow(ctx, lookSQL, worker).Scan(&workers, &beats, &cancelled, &leases, &s.Waiting, &s.Due, &s.Late, &s.Lost, &s.Owed)
	if err != nil {
		return s, fmt.Errorf("look: %w", err)
	}
	s.Beats = map[string]int64{}
	for i, w := range workers {
		s.Beats[w] = beats[i]
	}
	for i, id := range cancelled {
		s.Cancels = append(s.Cancels, Lease{id, leases[i]})
	}
	return s, nil
}

package queue

import (
	"context"
	"fmt"
)

// Reads the narrow tables through, once for all tenants: an index by tenant would be written with every enqueue and claim.
const depthsSQL = `
select tenant, count(*)
from (select tenant from ready union all select tenant from delayed) waiting
group by tenant`

// Depths counts the jobs that wait, queued or delayed, of each tenant that has any.
func (q *Queue) Depths(ctx context.Context) (map[string]int64, error) {
	return q.byName(ctx, depthsSQL)
}

const takenSQL = `
select count(*)
from unnest($1::text[], $2::text[]) as g(tenant, key)
join jobs j on j.tenant = g.tenant and j.idempotency_key = g.key`

// Fresh counts the jobs that an Enqueue of the same would add: all but those whose key names an earlier one, of the call
// or before it. It stores nothing. What is out of bounds it refuses like Enqueue.
func (q *Queue) Fresh(ctx context.Context, batch Batch) (int, error) {
	rows, err := q.rows(batch)
	if err != nil {
		return 0, enqueueError(err)
	}
	first, err := firstOfKey(rows)
	if err != nil {
		return 0, err
	}
	fresh := 0
	var keyed []row
	for i, r := range rows {
		if first[i] != i {
			continue
		}
		fresh++
		if r.key != nil {
			keyed = append(keyed, r)
		}
	}
	if len(keyed) == 0 {
		return fresh, nil
	}
	var taken int
	err = q.db.QueryRow(ctx, takenSQL,
		of(keyed, func(r row) string { return r.tenant }),
		of(keyed, func(r row) *string { return r.key })).Scan(&taken)
	if err != nil {
		return 0, fmt.Errorf("look for keys: %w", err)
	}
	return fresh - taken, nil
}

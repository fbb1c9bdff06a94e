package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// Orders by hand.
const (
	cancel = "cancel"
	retry  = "retry"
)

const (
	lookAgain = 300 * time.Millisecond
	watchFor  = 15 * time.Second
)

// view is what a client reads of a job.
type view struct {
	State    string
	Attempts int
	Lease    int64
}

// steered enqueues a job and changes its mind about it: cancels it, or sees it end, and takes it back, up to three times.
func (l *load) steered(ctx context.Context) {
	id := l.enqueue(ctx, l.frail(), "")
	if id == "" {
		return
	}
	for range 1 + l.draw(3) {
		if l.draw(2) == 0 {
			l.dither(ctx, 2*time.Second)
			l.order(ctx, id, cancel)
		} else {
			l.watch(ctx, id)
		}
		if l.draw(3) == 0 {
			return // that is how it shall stay
		}
		l.dither(ctx, time.Second)
		if l.draw(4) == 0 {
			l.all.Go(func() { l.order(ctx, id, cancel) }) // somebody else, at the same moment
		}
		l.order(ctx, id, retry)
	}
}

// frail is a job that may fail: for what it asks, or at the first error that it meets.
func (l *load) frail() map[string]any {
	switch l.draw(6) {
	case 0, 1:
		return l.job("[[sim:bad_request]]")
	case 2:
		job := l.job("[[sim:failed]]")
		job["max_attempts"] = 1
		return job
	default:
		job := l.job("")
		job["max_attempts"] = 1 + l.draw(2)
		return job
	}
}

// watch looks at a job until it has ended, or for long enough.
func (l *load) watch(ctx context.Context, id string) {
	for deadline := time.Now().Add(watchFor); sleep(ctx, lookAgain) && time.Now().Before(deadline); {
		before := l.ledger.copyOf(id)
		var job view
		if l.request(ctx, http.MethodGet, "/api/ai/jobs/"+id, nil, "", &job) == http.StatusOK && l.ledger.saw(id, before, job) {
			return
		}
	}
}

// order cancels or retries a job by hand, and notes what was answered.
func (l *load) order(ctx context.Context, id, verb string) {
	before := l.ledger.ask(id, verb)
	var job view
	status := l.post(ctx, "/api/ai/jobs/"+id+"/"+verb, nil, "", &job)
	after := l.ledger.answer(id, verb, status)
	if wrong := before.objection(after, verb, status, job); wrong != "" {
		l.ledger.change(func(to *ledger) {
			to.wrong = append(to.wrong, fmt.Sprintf("%s: %s answered %d, %s", id, verb, status, wrong))
		})
		return
	}
	if status == http.StatusOK {
		l.ledger.saw(id, before, job)
	}
}

// objection says why an answer to an order cannot be; "": it can. What was asked for meanwhile excuses much.
func (o orders) objection(after orders, verb string, status int, job view) string {
	meanwhile := after.retries.asked - o.retries.asked
	if verb == retry {
		meanwhile--
	}
	rests := o.rests != "" && meanwhile == 0
	switch {
	case rests && (verb == cancel && status == http.StatusOK || verb == retry && status == http.StatusConflict):
		return "though the job was " + o.rests
	case status != http.StatusOK:
		return ""
	case job.Lease < o.lease || rests && job.Lease != o.lease:
		return fmt.Sprintf("with lease %d after %d", job.Lease, o.lease)
	case verb == cancel && job.State != "cancelled", verb == retry && (job.State != "queued" || job.Attempts != 0):
		return fmt.Sprintf("with a job that is %s after %d attempts", job.State, job.Attempts)
	}
	return ""
}

// by is the tally of a verb.
func (o *orders) by(verb string) *tally {
	if verb == cancel {
		return &o.cancels
	}
	return &o.retries
}

// ask notes an order before it is sent, and gives what was known by then.
func (l *ledger) ask(id, verb string) (before orders) {
	l.change(func(l *ledger) {
		o := l.orders[id]
		before = o
		o.by(verb).asked++
		if verb == retry {
			o.rests = ""
		}
		l.orders[id] = o
	})
	return before
}

// answer notes the answer to an order, and gives what is known then.
func (l *ledger) answer(id, verb string, status int) (after orders) {
	l.change(func(l *ledger) {
		o := l.orders[id]
		switch status {
		case http.StatusOK:
			o.by(verb).obeyed++
		case http.StatusConflict:
			o.by(verb).refused++
		}
		l.orders[id], after = o, o
	})
	return after
}

// saw notes how an answer shows a job that a client had asked for when only before was ordered, and tells whether it has ended.
func (l *ledger) saw(id string, before orders, job view) (ended bool) {
	l.change(func(l *ledger) {
		o := l.orders[id]
		o.lease = max(o.lease, job.Lease)
		switch job.State {
		case "done":
			l.done = append(l.done, id)
			ended = true
		case "failed", "cancelled":
			if o.retries == before.retries && o.retries.unclear() == 0 {
				o.rests = job.State
			}
			ended = true
		}
		l.orders[id] = o
	})
	return ended
}

const (
	obeyedSQL = `select job_id::text, verb, count(*) from chaos.orders group by 1, 2`

	restsSQL = `
select g.id || ': ' || j.state || ', lease ' || j.lease || '; it was left ' || g.state || ', lease ' || g.lease
from unnest($1::uuid[], $2::text[], $3::bigint[]) as g(id, state, lease) join jobs j on j.id = g.id
where (j.state, j.lease) <> (g.state, g.lease)`
)

// checkOrders compares what the database obeyed with what was ordered: it was as much as was answered before the snapshot,
// and no more than was asked for by after it. And who was left at rest, and not stirred since, rests.
func checkOrders(ctx context.Context, tx pgx.Tx, before, after *ledger) ([]violation, error) {
	rows, err := tx.Query(ctx, obeyedSQL)
	if err != nil {
		return nil, err
	}
	obeyed := map[[2]string]int{}
	var by [2]string
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&by[0], &by[1], &n}, func() error { obeyed[by] = n; return nil }); err != nil {
		return nil, err
	}
	restless, err := stirred(ctx, tx, before, after)
	return broken(violation{"what is done by hand was ordered, and each order that was answered was obeyed once", unordered(obeyed, before, after)},
		violation{"a job that was left cancelled or failed stays so", restless}), err
}

// unordered are the jobs, by id and verb, that were ordered about more or less often than they should.
func unordered(obeyed map[[2]string]int, before, after *ledger) (list []string) {
	for by := range obeyed {
		if _, known := after.orders[by[0]]; !known {
			list = append(list, fmt.Sprintf("%s: %s that nobody asked for", by[0], by[1]))
		}
	}
	for id, now := range after.orders {
		then := before.orders[id]
		for _, verb := range []string{cancel, retry} {
			if n := obeyed[[2]string{id, verb}]; !then.by(verb).allows(n, *now.by(verb)) {
				list = append(list, fmt.Sprintf("%s: %s %d times; of %+v, and later %+v", id, verb, n, *then.by(verb), *now.by(verb)))
			}
		}
	}
	return list
}

// stirred are the jobs that should rest and do not.
func stirred(ctx context.Context, tx pgx.Tx, before, after *ledger) ([]string, error) {
	var ids, states []string
	var leases []int64
	for id, o := range before.orders {
		if o.rests != "" && after.orders[id].retries == o.retries {
			ids, states, leases = append(ids, id), append(states, o.rests), append(leases, o.lease)
		}
	}
	return texts(ctx, tx, restsSQL, ids, states, leases)
}

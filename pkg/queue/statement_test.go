package queue

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// TestPlans shows that what is planned on empty tables, as on a queue's first day, fits full ones: every row is found by its
// key, without the nested loops that linear and keyed forbid. A statement that cannot do without what it is forbidden would
// cost so much, on paper, that the server compiles it each time.
func TestPlans(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	end := []any{"w", []uuid.UUID{uuid.New()}, []int64{1}, []string{"ok"}, []bool{true}, []string{"done"}, []int64{0}, []bool{false},
		[]*int{nil}, []*string{nil}, []*int64{nil}, []*string{nil}, []*int64{nil}, []*int64{nil}, []string{"{}"}}
	claim := []any{uuid.New(), "w", gpt5, []string{"chat"}, []time.Duration{time.Minute}, time.Second, 500, gpt5, int64(0), nil, nil, make([]int64, 10), time.Second}
	news := []any{[]uuid.UUID{uuid.New()}, []string{""}, []int64{0}, []time.Time{{}}, 1}
	for name, c := range map[string]struct {
		plan, sql string
		args      []any
		without   string // of the plan's lines
	}{
		"claim":          {once, claimSQL, claim, `Seq Scan on|Bitmap`},
		"end":            {keyed, endSQL, end, `Seq Scan on|Nested Loop`},
		"news":           {once, newsSQL, news, `Seq Scan on`},
		"rescue":         {linear, rescueSQL, []any{rescueSize}, `Nested Loop`},
		"promote":        {once, promoteSQL, []any{sweepSize}, `Seq Scan on|Bitmap`},
		"expire ready":   {once, expireReadySQL, []any{sweepSize}, `Seq Scan on|Bitmap`},
		"expire delayed": {once, expireDelayedSQL, []any{sweepSize}, `Seq Scan on|Bitmap`},
		"compact":        {linear, compactSQL, []any{compactSize}, `Nested Loop`},
	} {
		for kind, plan := range map[string]string{"once and for all": f.explain(true, c.plan, c.sql, c.args), "for these values": f.explain(false, c.plan, c.sql, c.args)} {
			cost, err := strconv.ParseFloat(regexp.MustCompile(`cost=[\d.]+\.\.([\d.]+)`).FindStringSubmatch(plan)[1], 64)
			if err != nil || cost > 1e6 || regexp.MustCompile(c.without).MatchString(plan) {
				t.Errorf("%s, planned %s: cost %v, %v:\n%s", name, kind, cost, err, plan)
			}
		}
	}
}

// explain gives the plan of a statement under what the planner is told of it: for these arguments or, generic, for any.
func (f fixture) explain(generic bool, told, sql string, args []any) string {
	f.Helper()
	tx := f.begin()
	defer func() { _ = tx.Rollback(context.Background()) }()
	if generic {
		defer func() { _, _ = tx.Exec(context.Background(), `deallocate statement`) }() // a rollback does not
		told += `;set local plan_cache_mode = force_generic_plan; prepare statement as ` + sql
		sql = `execute statement (` + strings.Join(slices.Repeat([]string{"null"}, len(args)), ",") + `)`
		args = nil
	}
	if _, err := tx.Exec(f.Context(), told, pgx.QueryExecModeSimpleProtocol); err != nil {
		f.Fatal(err)
	}
	rows, _ := tx.Query(f.Context(), "explain "+sql, args...) // its error is in rows
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		f.Fatal(err)
	}
	return strings.Join(plan, "\n")
}

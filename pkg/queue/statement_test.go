package queue

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// TestLinearStatementsNeedNoNestedLoop shows that what runs under linear can do without the loops that it forbids: one that
// it cannot would cost so much, on paper, that the server compiles it each time.
func TestLinearStatementsNeedNoNestedLoop(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, statement := range map[string]struct {
		sql  string
		args []any
	}{
		"end": {endSQL, []any{"w", []uuid.UUID{uuid.New()}, []int64{1}, []string{"ok"}, []bool{true}, []string{"done"}, []int64{0}, []bool{false},
			[]*int{nil}, []*string{nil}, []*int64{nil}, []*string{nil}, []*int64{nil}, []*int64{nil}, []string{"{}"}}},
		"rescue": {rescueSQL, []any{rescueSize}},
	} {
		tx := f.begin()
		if _, err := tx.Exec(t.Context(), linear); err != nil {
			t.Fatal(err)
		}
		rows, err := tx.Query(t.Context(), "explain "+statement.sql, statement.args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		cost, err := strconv.ParseFloat(regexp.MustCompile(`cost=[\d.]+\.\.([\d.]+)`).FindStringSubmatch(plan[0])[1], 64)
		if err != nil || cost > 1e6 || strings.Contains(strings.Join(plan, "\n"), "Nested Loop") {
			t.Errorf("%s: cost %v, %v:\n%s", name, cost, err, strings.Join(plan, "\n"))
		}
	}
}

package queue

import (
	"cmp"
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedev/sluice/pkg/pg"
)

// What the planner is told of the hot statements, for each alone and in its own transaction.
const (
	// linear has a statement join by hash. The planner takes a batch for a row or ten and would compare each job with each
	// end: half a millisecond for each of 256.
	linear = `select set_config('enable_nestloop', 'off', true)`
	// keyed has it find its rows by their keys as well. A plan that was made while the tables were young reads all of them,
	// which looks cheap, and is kept until autovacuum has counted their rows: a minute in which they may have grown to a million.
	// To plan one end takes twice as long as to write it, so the plan is made once and for all.
	keyed = `select set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true),
		set_config('plan_cache_mode', 'force_generic_plan', true)`
	// once is for keys too, in their order, and has it planned once and for all. A limit that is not known looks expensive,
	// and so it would be planned each time, which takes longer than to claim a job.
	once = `select set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true),
		set_config('enable_bitmapscan', 'off', true)`
)

// planned runs a statement in one round trip with what the planner is told of it.
func planned[T any](ctx context.Context, db pg.DB, plan string, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	batch := &pgx.Batch{}
	batch.Queue(plan)
	batch.Queue(sql, args...)
	results := db.SendBatch(ctx, batch)
	_, err := results.Exec()
	var list []T
	if err == nil {
		rows, _ := results.Query() // its error is in rows
		list, err = pgx.CollectRows(rows, row)
	}
	return list, cmp.Or(err, results.Close())
}

// of gives one column of a list of rows, as unnest takes it.
func of[R, T any](rows []R, value func(R) T) pgtype.FlatArray[T] {
	values := make([]T, len(rows))
	for i, r := range rows {
		values[i] = value(r)
	}
	return values
}

// ids is of for a column of ids, which would else go through their text, or in some of pgx's modes not at all.
func ids[R any](rows []R, value func(R) uuid.UUID) pgtype.FlatArray[pgtype.UUID] {
	return of(rows, func(r R) pgtype.UUID { return pgtype.UUID{Bytes: value(r), Valid: true} })
}

// orNil is NULL for what was not given.
func orNil[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

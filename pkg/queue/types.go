package queue

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// A lower version than the one there changes nothing. Types are written one by one, by name, so that replicas that start
// at the same moment wait for each other in one order.
const syncSQL = `
with old as (select * from job_types where name = $1)
insert into job_types as t (name, upstream, model, models, custom, priority, max_attempts, timeout_ms, max_wait_ms, version)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (name) do update set upstream = excluded.upstream, model = excluded.model, models = excluded.models,
    custom = excluded.custom, priority = excluded.priority, max_attempts = excluded.max_attempts,
    timeout_ms = excluded.timeout_ms, max_wait_ms = excluded.max_wait_ms, version = excluded.version, updated_at = now()
where t.version <= excluded.version and (t.upstream, t.model, t.models, t.custom, t.priority, t.max_attempts, t.timeout_ms, t.max_wait_ms, t.version)
    is distinct from (excluded.upstream, excluded.model, excluded.models, excluded.custom, excluded.priority, excluded.max_attempts, excluded.timeout_ms, excluded.max_wait_ms, excluded.version)
returning (select version from old)`

const newerSQL = `select coalesce((select version from job_types where name = $1), 0)`

// Types are the configuration's types, by name.
func (q *Queue) Types() []jobtype.Type { return q.types.All() }

// Sync writes the configuration's types to job_types, where enqueue_job() reads them. Of two configurations that differ
// the higher version wins; with equal versions the later start does, and the log says so.
func (q *Queue) Sync(ctx context.Context, version int64, log *slog.Logger) error {
	for _, t := range q.types.All() {
		if err := q.syncType(ctx, t, version, log); err != nil {
			return fmt.Errorf("sync job types: %w", err)
		}
	}
	return nil
}

func (q *Queue) syncType(ctx context.Context, t jobtype.Type, version int64, log *slog.Logger) error {
	models := t.Models
	if models == nil {
		models = []string{}
	}
	var before *int64
	err := q.db.QueryRow(ctx, syncSQL, t.Name, orNil(t.Upstream), orNil(t.Model), models, t.Custom, t.Priority, t.MaxAttempts,
		t.Timeout.Milliseconds(), orNil(t.MaxWait.Milliseconds()), version).Scan(&before)
	switch {
	case err == nil && before != nil && *before == version:
		log.Warn("a job type differs from what another process wrote at the same version; this one wins: raise `version` in the configuration file",
			"type", t.Name, "version", version)
	case err == pgx.ErrNoRows: // nothing to change, or a higher version is there
		var there int64
		if err := q.db.QueryRow(ctx, newerSQL, t.Name).Scan(&there); err != nil {
			return err
		}
		if there > version {
			log.Warn("a job type in the database has a higher version than this configuration; SQL goes by the database",
				"type", t.Name, "version", version, "database_version", there)
		}
	case err != nil:
		return err
	}
	return nil
}

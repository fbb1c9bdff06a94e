package pg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"github.com/sluicedev/sluice/db/migrations"
)

const (
	// MinServerVersion is the oldest PostgreSQL that Sluice runs on, as in server_version_num.
	MinServerVersion = 150000

	// versionTable has a name of its own, so that an application that uses goose in the same schema keeps its history.
	versionTable = "sluice_db_version"

	// A second migrator looks for the lock every second, for ten minutes. It polls instead of waiting in the server,
	// because a statement that waits holds a snapshot, which would block a CREATE INDEX CONCURRENTLY for ever.
	lockPollSeconds = 1
	lockPolls       = 600
)

// Migrate brings the schema that url's search_path names to the newest version, and returns at once if it is there.
// Any number may start at the same time: one works, the others wait for it. One that is killed loses its lock with its
// connection, and the migration it was in is rolled back whole, so the next run goes on from there.
//
// url has to reach the server directly: the lock lives in the session, which PgBouncer in transaction mode shares out.
func Migrate(ctx context.Context, url string, log *slog.Logger) error {
	return migrate(ctx, url, migrations.FS, log)
}

func migrate(ctx context.Context, url string, files fs.FS, log *slog.Logger) error {
	cfg, err := directConfig(url, "sluice-migrate")
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	db.SetMaxOpenConns(1) // the one that holds the lock
	where, err := inspect(ctx, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := newProvider(db, files, where)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	results, err := provider.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results, err = partial.Applied, fmt.Errorf("%s: %w", partial.Failed.Source.Path, partial.Err)
	}
	for _, r := range results {
		log.Info("migration applied", "file", r.Source.Path, "schema", where.schema, "duration", r.Duration)
	}
	if err != nil {
		return fmt.Errorf("migrate database %s, schema %s: %w", where.database, where.schema, err)
	}
	log.Info("schema is up to date", "database", where.database, "schema", where.schema)
	return nil
}

func newProvider(db *sql.DB, files fs.FS, where target) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker(
		lock.WithLockID(where.lockID()),
		lock.WithLockTimeout(lockPollSeconds, lockPolls),
	)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(database.DialectPostgres, db, files,
		goose.WithSessionLocker(locker),
		goose.WithTableName(versionTable),
	)
}

// target is the place that a connection would migrate.
type target struct {
	database, schema, searchPath string
	version                      string // as people write it
	versionNum                   int    // as server_version_num has it
}

const inspectSQL = `
select current_database(), coalesce(current_schema(), ''), current_setting('search_path'),
       current_setting('server_version'), current_setting('server_version_num')::int`

// inspect looks where a connection leads and refuses what cannot be migrated.
func inspect(ctx context.Context, db *sql.DB) (t target, err error) {
	err = db.QueryRowContext(ctx, inspectSQL).Scan(&t.database, &t.schema, &t.searchPath, &t.version, &t.versionNum)
	if err != nil {
		return t, err
	}
	return t, t.unfit()
}

// unfit says what to do about a server or a schema that cannot be migrated.
func (t target) unfit() error {
	if t.versionNum < MinServerVersion {
		return fmt.Errorf("the server runs PostgreSQL %s, and Sluice needs %d or newer",
			t.version, MinServerVersion/10000)
	}
	if t.schema == "" {
		return fmt.Errorf("search_path is %q, and database %s has no such schema (or the user may not use it): "+
			"create it first, with CREATE SCHEMA", t.searchPath, t.database)
	}
	return nil
}

// lockID is the key of the advisory lock. It includes the schema, so that two installations in one database don't
// wait for each other.
func (t target) lockID() int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "sluice migrate\x00%s\x00%s", t.database, t.schema)
	return int64(h.Sum64())
}

const versionSQL = `select coalesce(max(version_id), 0) from ` + versionTable + ` where is_applied`

// Version returns the schema's version and the one that this binary was built with. A process is ready once
// current >= wanted: a newer schema is fine, because migrations keep the previous binaries working.
func Version(ctx context.Context, db DB) (current, wanted int64, err error) {
	if wanted, err = newest(migrations.FS); err != nil {
		return 0, 0, err
	}
	err = db.QueryRow(ctx, versionSQL).Scan(&current)
	if Code(err) == undefinedTable {
		return 0, wanted, nil
	}
	if err != nil {
		return 0, wanted, fmt.Errorf("read the schema's version: %w", err)
	}
	return current, wanted, nil
}

// Migrated refuses a schema that is older than this binary needs, with a sentence that says what to do.
func Migrated(ctx context.Context, db DB) error {
	current, wanted, err := Version(ctx, db)
	if err == nil && current < wanted {
		return fmt.Errorf("the database is at schema version %d and this program needs %d: run `api migrate` first", current, wanted)
	}
	return err
}

// newest is the highest number among the migration files.
func newest(files fs.FS) (int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil || len(names) == 0 {
		return 0, errors.Join(errors.New("no migrations in this binary"), err)
	}
	return goose.NumericComponent(names[len(names)-1]) // Glob sorts, and the numbers have leading zeros
}

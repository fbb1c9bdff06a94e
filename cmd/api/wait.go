package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/pg"
)

// How long `migrate wait` waits, and how often it looks.
const (
	waitLimit = 10 * time.Minute
	waitEvery = time.Second
)

// waitMigrated returns when look finds the schema of this version, whoever brings it there.
func waitMigrated(ctx context.Context, look func(context.Context) error, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for said := ""; ; {
		err := look(ctx)
		if err == nil {
			return nil
		}
		if err.Error() != said { // and not once a second
			said = err.Error()
			log.Info("waiting for the schema", "because", said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("migrate wait: %w", err)
		case <-time.After(waitEvery):
		}
	}
}

// lookMigrated tells whether a database has the schema of this version; nil: it has.
func lookMigrated(cfg config.APIConfig) func(context.Context) error {
	return func(ctx context.Context) error {
		db, err := open(ctx, cfg)
		if err != nil {
			return err
		}
		defer db.Close()
		return pg.Migrated(ctx, db)
	}
}

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

// waitMigrated returns when the schema is this version's, whoever brings it there.
func waitMigrated(ctx context.Context, cfg config.APIConfig, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for said := ""; ; {
		err := lookMigrated(ctx, cfg)
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

func lookMigrated(ctx context.Context, cfg config.APIConfig) error {
	db, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	return pg.Migrated(ctx, db)
}

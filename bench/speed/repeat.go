package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// entry is one contender in one test.
type entry struct {
	test, contender string
	trial           func(context.Context) (figures, error)
}

// repeat makes one trial of each entry after the other, and all that again: what disturbs the machine for a while
// disturbs all of them. A trial that fails is told at the end and has no figures; the others go on.
func (b *bench) repeat(ctx context.Context, part string, trials int, entries []entry) error {
	var rows []*row
	var chosen []entry
	for _, e := range entries {
		if b.test.MatchString(e.test) && b.contender.MatchString(e.contender) {
			chosen = append(chosen, e)
			rows = append(rows, &row{part: part, test: e.test, contender: e.contender})
		}
	}
	b.rows = append(b.rows, rows...)
	for range trials {
		for i, e := range chosen {
			began := time.Now()
			got, err := e.trial(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				err = fmt.Errorf("%s, %s, %s: %w", part, e.test, e.contender, err)
				fmt.Fprintln(b.progress, "failed:", err)
				b.failed = append(b.failed, err)
				continue
			}
			rows[i].trials = append(rows[i].trials, got)
			fmt.Fprintf(b.progress, "%s, %s, %s: %s in %.1f s\n", part, e.test, e.contender, got, time.Since(began).Seconds())
		}
	}
	return nil
}

// tabled is whoever has tables.
type tabled interface {
	name() string
	// schema makes its tables in an empty database.
	schema(ctx context.Context, url string) error
}

// database is one that a contender has its tables in.
type database struct{ name, url string }

// create makes a database for a contender.
func (b *bench) create(ctx context.Context, of tabled) (at database, err error) {
	b.databases++
	at.name = fmt.Sprintf("%s_%d", strings.Map(letters, of.name()), b.databases)
	at.url, err = b.server.Create(ctx, at.name, of.schema)
	return at, err
}

func (b *bench) drop(ctx context.Context, at database) error {
	_, err := b.server.Admin.Exec(context.WithoutCancel(ctx), `drop database `+pgx.Identifier{at.name}.Sanitize()+` with (force)`)
	return err
}

// fresh makes a database for one trial.
func (b *bench) fresh(ctx context.Context, of tabled, trial func(at database) (figures, error)) (got figures, err error) {
	at, err := b.create(ctx, of)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.drop(ctx, at)) }()
	return trial(at)
}

// letters leaves only those that need no escape in a URL.
func letters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return '_'
}

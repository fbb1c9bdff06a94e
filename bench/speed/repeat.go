package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// named is whoever can be in a table.
type named interface{ name() string }

// repeat makes one trial of each contender after the other, and all that again: what disturbs the machine for a while
// disturbs all of them.
func repeat[C named](ctx context.Context, b *bench, part, test string, all []C, once func(context.Context, C) (figures, error)) error {
	if !b.test.MatchString(test) {
		return nil
	}
	var rows []*row
	var chosen []C
	for _, c := range all {
		if b.contender.MatchString(c.name()) {
			chosen = append(chosen, c)
			rows = append(rows, &row{part: part, test: test, contender: c.name()})
		}
	}
	for range b.trials {
		for i, c := range chosen {
			began := time.Now()
			got, err := once(ctx, c)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", test, c.name(), err)
			}
			rows[i].trials = append(rows[i].trials, got)
			fmt.Fprintf(b.progress, "%s, %s, %s: %s in %.1f s\n", part, test, c.name(), got, time.Since(began).Seconds())
		}
	}
	b.rows = append(b.rows, rows...)
	return nil
}

// with makes a database for a contender, and drops it afterwards.
func (b *bench) with(ctx context.Context, c contender, use func(at database) error) (err error) {
	b.databases++
	at := database{name: fmt.Sprintf("%s_%d", strings.Map(letters, c.name()), b.databases)}
	if at.url, err = b.server.Create(ctx, at.name, c.schema); err != nil {
		return err
	}
	defer func() {
		_, failed := b.server.Admin.Exec(context.WithoutCancel(ctx), `drop database `+pgx.Identifier{at.name}.Sanitize()+` with (force)`)
		err = errors.Join(err, failed)
	}()
	return use(at)
}

// letters leaves only those that need no escape in a URL.
func letters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return '_'
}

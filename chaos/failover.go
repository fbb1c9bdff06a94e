package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/sluicedev/sluice/pkg/pg/local"
)

// failover is the death of a primary whose place a synchronous standby takes: everybody is led there at once, finds that
// it refuses every write (25006), and goes on there when it has been promoted. The old primary never comes back.
func failover(ctx context.Context, r *rig) (heal, error) {
	began := time.Now()
	standby, err := r.postgres.follower(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, skip("this PostgreSQL comes without pg_basebackup")
	}
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	if err := r.noteDone(ctx); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	old := r.postgres.Server
	if err := r.replaceBy(standby); err != nil {
		return nil, errors.Join(err, old.Stop())
	}
	return func(ctx context.Context) (string, error) {
		refused, err := refusals(standby)
		return fmt.Sprintf("a standby in %.1f s, which refused %d writes", took.Seconds(), refused),
			errors.Join(err, r.postgres.exec(ctx, promoteSQL), old.Stop())
	}, nil
}

const (
	// inStepSQL is a commit that waits until the standby has it, and with it all that was committed before.
	inStepSQL = `select pg_logical_emit_message(true, 'chaos', 'in step')`

	// promoteSQL may be repeated.
	promoteSQL = `do $$ begin if pg_is_in_recovery() then perform pg_promote(); end if; end $$`
)

// follower makes a standby, without which the primary acknowledges no commit from then on.
func (p *postgres) follower(ctx context.Context) (*local.Server, error) {
	standby, err := p.Standby(ctx)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return p.exec(ctx, `alter system set synchronous_standby_names = '*'`) },
		func() error { return p.exec(ctx, `select pg_reload_conf()`) },
		func() error { return p.awaitSynchronous(ctx) },
		func() error { return p.exec(ctx, `checkpoint`) }, // by the process that has all others wait, once it knows
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, standby.Stop())
		}
	}
	return standby, nil
}

func (p *postgres) awaitSynchronous(ctx context.Context) error {
	return persist(ctx, func(ctx context.Context) (err error) {
		names, err := texts(ctx, p.admin, `select application_name from pg_stat_replication where sync_state = 'sync'`)
		if err == nil && len(names) == 0 {
			err = errors.New("no standby is synchronous")
		}
		return err
	})
}

// noteDone enters into the ledger what everybody can see to be done now, and may rely on.
func (r *rig) noteDone(ctx context.Context) error {
	done, err := texts(ctx, r.postgres.admin, `select id::text from jobs where state = 'done'`)
	if err != nil {
		return err
	}
	r.ledger.change(func(l *ledger) { l.done = append(l.done, done...) })
	return r.postgres.exec(ctx, inStepSQL)
}

// replaceBy kills the primary and leads everybody to another server.
func (r *rig) replaceBy(next *local.Server) error {
	r.postgres.Halt(syscall.SIGKILL)
	err := r.keepLog()
	r.postgres.Server = next
	return errors.Join(err, r.postgres.door.turn(next.Address()))
}

// refusals is how many writes a standby has refused. None: nothing was tried, and nothing shown.
func refusals(standby *local.Server) (n int, err error) {
	log, err := os.ReadFile(standby.Log())
	if n = bytes.Count(log, []byte("in a read-only transaction")); n == 0 && err == nil {
		err = errors.New("nobody tried to write on the standby")
	}
	return n, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/local"
)

const (
	database       = "sluice"
	ownApp         = "chaos" // our own sessions, which faults spare
	maxConnections = 150
)

// postgres is the server under test. It survives crashes, as one in production does.
type postgres struct {
	*local.Server
	admin *pgxpool.Pool // ours, past all proxies
}

func startPostgres(ctx context.Context) (*postgres, error) {
	server, err := local.Start(ctx, local.Options{Fsync: true, MaxConnections: maxConnections,
		Settings: map[string]string{"log_line_prefix": "%m [%p] %a ", "log_lock_waits": "on"}})
	if err != nil {
		return nil, err
	}
	p := &postgres{Server: server}
	if p.admin, err = p.create(ctx); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return p, nil
}

// create makes the database and our pool on it. Our sessions write while others may not.
func (p *postgres) create(ctx context.Context) (*pgxpool.Pool, error) {
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create database "+database); err != nil {
		return nil, err
	}
	return pgxpool.New(ctx, p.own()+"&pool_min_conns=3&pool_max_conns=6")
}

// own is the URL of our sessions.
func (p *postgres) own() string {
	return p.URL(database) + "&default_transaction_read_only=off&connect_timeout=5&application_name=" + ownApp
}

// address is where it listens.
func (p *postgres) address() (host string, user *url.Userinfo, err error) {
	u, err := url.Parse(p.URL(database))
	if err != nil {
		return "", nil, err
	}
	return u.Host, u.User, nil
}

func (p *postgres) close() error {
	p.admin.Close()
	return p.Stop()
}

// watchSQL notes every change of what has ended, of a lease that falls, and of an attempt that gets another worker. Each is
// a violation: the load takes nothing back by hand. Full is the
// trigger of a disk without room, for a fault to switch on.
const watchSQL = `
create schema chaos;
create table chaos.changes (id text, was text, became text, at timestamptz default clock_timestamp());
create function chaos.job_changed() returns trigger language plpgsql as $$ begin
    insert into chaos.changes (id, was, became) values (old.id, to_json(old)::text, coalesce(to_json(new)::text, 'deleted'));
    return null;
end $$;
create function chaos.attempt_changed() returns trigger language plpgsql as $$ begin
    insert into chaos.changes (id, was, became) values (old.job_id || '/' || old.number, to_json(old)::text, coalesce(to_json(new)::text, 'deleted'));
    return null;
end $$;
create function chaos.full() returns trigger language plpgsql as $$ begin
    raise exception 'could not extend file: No space left on device' using errcode = '53100';
end $$;
create trigger chaos_job_changed after update on jobs for each row
    when (old.state in ('done', 'failed', 'cancelled') or new.lease < old.lease) execute function chaos.job_changed();
create trigger chaos_job_deleted after delete on jobs for each row execute function chaos.job_changed();
create trigger chaos_attempt_changed after update on attempts for each row
    when (old.outcome is not null or new.worker <> old.worker) execute function chaos.attempt_changed();
create trigger chaos_attempt_deleted after delete on attempts for each row execute function chaos.attempt_changed();
create trigger chaos_full before insert or update on jobs for each statement execute function chaos.full();
create trigger chaos_full before insert or update on attempts for each statement execute function chaos.full();
alter table jobs disable trigger chaos_full;
alter table attempts disable trigger chaos_full;
`

func (p *postgres) watch(ctx context.Context) error {
	_, err := p.admin.Exec(ctx, watchSQL)
	return err
}

// exec runs a statement of a fault, again and again until it works: the server may be just coming back.
func (p *postgres) exec(ctx context.Context, sql string, args ...any) error {
	return persist(ctx, func(ctx context.Context) error {
		_, err := p.admin.Exec(ctx, sql, args...)
		return err
	})
}

const (
	persistFor   = 30 * time.Second
	persistPause = 200 * time.Millisecond
	statementFor = 10 * time.Second
)

// persist repeats what fails, for half a minute.
func persist(ctx context.Context, try func(context.Context) error) error {
	for deadline := time.Now().Add(persistFor); ; {
		bounded, cancel := context.WithTimeout(ctx, statementFor)
		err := try(bounded)
		cancel()
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		sleep(ctx, persistPause)
	}
}

// terminate ends sessions of everybody but us; of is a condition on pg_stat_activity.
func (p *postgres) terminate(ctx context.Context, of string) (n int, err error) {
	err = persist(ctx, func(ctx context.Context) error {
		return p.admin.QueryRow(ctx, `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where datname = current_database() and application_name <> $1 and backend_type = 'client backend' and (`+of+`)`, ownApp).Scan(&n)
	})
	return n, err
}

// snapshot holds an old snapshot, and takes a new one when the server ended its session, until ctx ends.
func (p *postgres) snapshot(ctx context.Context) {
	for ctx.Err() == nil {
		p.holdSnapshot(ctx)
		sleep(ctx, time.Second)
	}
}

func (p *postgres) holdSnapshot(ctx context.Context) {
	conn, err := pgx.Connect(ctx, p.own())
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `begin isolation level repeatable read; select pg_current_snapshot()`); err != nil {
		return
	}
	_, _ = conn.WaitForNotification(ctx) // none comes: this ends with ctx or with the session
}

// hoard takes connections until the server has no more, gives a few back, and returns what ends the rest.
func (p *postgres) hoard(ctx context.Context, leave int) (release func(), n int, err error) {
	var held []*pgx.Conn
	release = func() {
		for _, conn := range held {
			_ = conn.Close(context.WithoutCancel(ctx)) // the server may have ended it
		}
	}
	for len(held) < maxConnections {
		conn, err := pgx.Connect(ctx, p.URL(database)+"&application_name="+ownApp)
		if err != nil {
			break // no more
		}
		held = append(held, conn)
	}
	if len(held) <= leave {
		release()
		return nil, 0, fmt.Errorf("only %d connections could be taken", len(held))
	}
	for _, conn := range held[:leave] {
		_ = conn.Close(ctx)
	}
	held = held[leave:]
	return release, len(held), nil
}

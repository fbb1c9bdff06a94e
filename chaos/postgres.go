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

// postgres is the server under test. It survives crashes, as one in production does, and another may take its place.
type postgres struct {
	*local.Server               // the primary
	door          wire          // where everybody finds it, whichever it is; no fault touches it
	url           *url.URL      // of the database, through the door
	admin         *pgxpool.Pool // ours, through nothing else
}

func startPostgres(ctx context.Context, n network) (*postgres, error) {
	server, err := local.Start(ctx, local.Options{Fsync: true, MaxConnections: maxConnections,
		Settings: map[string]string{"log_line_prefix": "%m [%p] %a ", "log_lock_waits": "on"}})
	if err != nil {
		return nil, err
	}
	p := &postgres{Server: server}
	if err := p.open(ctx, n); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return p, nil
}

// open makes the door, the database and our pool on it.
func (p *postgres) open(ctx context.Context, n network) (err error) {
	if p.url, err = url.Parse(p.URL(database)); err != nil {
		return err
	}
	if p.door, err = n.wire("postgres", p.Address()); err != nil {
		return err
	}
	p.url.Host = p.door.Listen
	conn, err := pgx.Connect(ctx, p.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create database "+database); err != nil {
		return err
	}
	p.admin, err = pgxpool.New(ctx, p.own()+"&pool_min_conns=3&pool_max_conns=6")
	return err
}

// own is the URL of our sessions, which write while others may not.
func (p *postgres) own() string {
	return p.url.String() + "&default_transaction_read_only=off&connect_timeout=5&application_name=" + ownApp
}

func (p *postgres) close() error {
	p.admin.Close()
	p.door.Stop()
	return p.Stop()
}

// watchSQL notes in chaos.changes what must never happen: a change of what has ended, a lease that moves otherwise than by
// one with a claim or with the cancel of a running job, an attempt that gets another worker. What is done by hand and may be
// done so goes to chaos.orders: a cancel, with the lease that it left; and a retry, which gives a fresh allowance, a new place in
// line, and changes nothing else. Full is the trigger of a disk without room, for a fault to switch on.
const watchSQL = `
create schema chaos;
create table chaos.changes (id text, was text, became text, at timestamptz default clock_timestamp());
create table chaos.orders (job_id uuid, verb text, was text, lease bigint, at timestamptz default clock_timestamp());
create function chaos.retried(old jobs, new jobs) returns boolean language sql as $$
    select old.state in ('failed', 'cancelled') and new.state = 'queued' and new.attempts = 0 and new.seq > old.seq
        and num_nonnulls(new.finished_at, new.scheduled_at, new.held_at, new.result, new.worker, new.deadline_at) = 0
        and to_jsonb(old) - fresh = to_jsonb(new) - fresh
    from (select array['state', 'attempts', 'seq', 'finished_at', 'scheduled_at', 'held_at', 'expires_at', 'updated_at'] as fresh) columns
$$;
create function chaos.job_changed() returns trigger language plpgsql as $$ begin
    if chaos.retried(old, new) then
        insert into chaos.orders (job_id, verb, was, lease) values (old.id, 'retry', old.state, new.lease);
        return null;
    end if;
    insert into chaos.changes (id, was, became) values (old.id, to_json(old)::text, coalesce(to_json(new)::text, 'deleted'));
    return null;
end $$;
create function chaos.job_cancelled() returns trigger language plpgsql as $$ begin
    insert into chaos.orders (job_id, verb, was, lease) values (old.id, 'cancel', old.state, new.lease);
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
    when (old.state in ('done', 'failed', 'cancelled') or new.lease <> old.lease
        + (old.state = 'queued' and new.state = 'running' or old.state = 'running' and new.state = 'cancelled')::int)
    execute function chaos.job_changed();
create trigger chaos_job_cancelled after update on jobs for each row
    when (old.state in ('queued', 'delayed', 'running') and new.state = 'cancelled') execute function chaos.job_cancelled();
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
		conn, err := pgx.Connect(ctx, p.url.String()+"&application_name="+ownApp)
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

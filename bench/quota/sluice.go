package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/bench/rig"
)

// sluice is a fleet of real workers. It is used only through what is public: the environment, enqueue_job() and tables.
type sluice struct {
	programs programs
	processes
}

const (
	sluiceReady = 2 * time.Minute  // for the workers to join
	sluicePark  = 2 * time.Minute  // for them to know that an upstream takes no calls
	sluiceStop  = 10 * time.Second // for them to end before they are killed
)

func (s sluice) name() string { return s.of("sluice") }

func (s sluice) start(ctx context.Context, at place) (fleet, error) {
	var err error
	if at.parked != "" {
		if s.programs, err = s.programs.configured(at.run, fmt.Sprintf(parkedConfig, at.parked)); err != nil {
			return nil, err
		}
	}
	url, err := at.postgres.Create(ctx, at.run, s.programs.migrate)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	f := &sluiceFleet{at: at, db: pool}
	for range s.processes {
		cmd := exec.Command(filepath.Join(s.programs.dir, "worker"))
		cmd.Env = s.programs.environ(url,
			"OPENAI_API_KEY=sk-bench", "SECOND_API_KEY=sk-bench", "OPENAI_BASE_URL="+at.baseURL,
			"SLUICE_CONCURRENCY="+strconv.Itoa(at.slots/int(s.processes)), "SLUICE_UPSTREAM_SHARE=1", "SLUICE_DRAIN_LIMIT=0s")
		w, err := rig.Start(cmd)
		if err != nil {
			return nil, errors.Join(err, f.stop())
		}
		f.processes = append(f.processes, w)
	}
	if err := f.ready(ctx); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	return f, nil
}

type sluiceFleet struct {
	at        place
	db        *pgxpool.Pool
	processes []*rig.Process
}

// ready waits until every worker has joined, which is after the types were written.
func (f *sluiceFleet) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sluiceReady)
	defer cancel()
	for joined := 0; ; {
		if err := f.db.QueryRow(ctx, `select count(*) from workers`).Scan(&joined); err != nil {
			return fmt.Errorf("wait for workers: %w", err)
		}
		if joined >= len(f.processes) {
			return nil
		}
		if err := f.alive(); err != nil {
			return err
		}
		if !rig.Pause(ctx, 20*time.Millisecond) { // between two looks from outside: other processes give no event
			return fmt.Errorf("wait for workers: %d of %d have joined: %w", joined, len(f.processes), ctx.Err())
		}
	}
}

func (f *sluiceFleet) alive() error {
	for _, p := range f.processes {
		select {
		case <-p.Ended():
			return fmt.Errorf("a worker ended (%v); its last words:\n%s", p.Exit(), p.LastWords())
		default:
		}
	}
	return nil
}

const loadSQL = `select count(enqueue_job('bench', payload)) from unnest($1::json[]) with ordinality as jobs (payload, n)`

func (f *sluiceFleet) load(ctx context.Context, jobs []job) error {
	payloads := make([]json.RawMessage, len(jobs))
	for i, j := range jobs {
		payload, err := json.Marshal(map[string]any{"input": j.input, "request": map[string]any{"max_output_tokens": j.tokens}})
		if err != nil {
			return err
		}
		payloads[i] = payload
	}
	_, err := f.db.Exec(ctx, loadSQL, payloads)
	return err
}

// They come before the jobs that are measured: the head of the queue.
const parkSQL = `select count(enqueue_job('other', json_build_object('input', 'parked'))) from generate_series(1, $1)`

const isParkedSQL = `select exists (select from upstreams where name = $1 and (state <> 'closed' or requests_remaining < 1))`

func (f *sluiceFleet) park(ctx context.Context, jobs int) error {
	if _, err := f.db.Exec(ctx, parkSQL, jobs); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sluicePark)
	defer cancel()
	for isParked := false; !isParked; {
		if err := f.db.QueryRow(ctx, isParkedSQL, parkedLine).Scan(&isParked); err != nil {
			return fmt.Errorf("wait until %s takes no calls: %w", parkedLine, err)
		}
		rig.Pause(ctx, 20*time.Millisecond) // between two looks from outside
	}
	return nil
}

func (f *sluiceFleet) failed(ctx context.Context) (n int, err error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	err = f.db.QueryRow(ctx, `select count(*) from jobs where state = 'failed'`).Scan(&n)
	return n, err
}

func (f *sluiceFleet) workers() int { return len(f.processes) }

func (f *sluiceFleet) quotaStatements(ctx context.Context) (int64, bool, error) {
	return f.at.postgres.quotaStatements(ctx, f.at.run)
}

func (f *sluiceFleet) books(ctx context.Context) (books, error) {
	return f.at.postgres.books(ctx, f.at.run)
}

func (f *sluiceFleet) stop() error {
	var all sync.WaitGroup
	for _, p := range f.processes {
		all.Go(func() { p.Stop(sluiceStop) })
	}
	all.Wait()
	f.db.Close()
	return nil
}

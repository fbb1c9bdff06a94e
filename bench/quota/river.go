package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// snoozer is River, the Go queue on Postgres, in the way that its documentation has for a rate limit: JobSnooze.
type snoozer struct{ processes }

const (
	riverConns = 4           // of each client
	riverStop  = time.Minute // for cancelled jobs to end
)

func (c snoozer) name() string { return c.of("river") }

func (c snoozer) start(ctx context.Context, at place) (fleet, error) {
	url, err := at.postgres.Create(ctx, at.run, riverSchema)
	if err != nil {
		return nil, err
	}
	f := &riverFleet{}
	for range c.processes {
		if err := f.add(ctx, url, at.baseURL, at.slots/int(c.processes)); err != nil {
			return nil, errors.Join(err, f.stop())
		}
	}
	return f, nil
}

// riverSchema makes River's tables.
func riverSchema(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

// riverFleet has a client, a pool and an HTTP client for each process.
type riverFleet struct {
	clients []*river.Client[pgx.Tx]
	pools   []*pgxpool.Pool
	https   []client
}

// quiet drops River's log: a snooze is no news, and the figures come from the provider.
var quiet = slog.New(slog.DiscardHandler)

func (f *riverFleet) add(ctx context.Context, url, baseURL string, slots int) error {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err
	}
	cfg.MaxConns = riverConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	f.pools = append(f.pools, pool)
	http := newClient(baseURL, slots)
	f.https = append(f.https, http)
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{client: http})
	c, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}},
		Workers: workers,
		Logger:  quiet,
	})
	if err != nil {
		return err
	}
	f.clients = append(f.clients, c)
	return c.Start(context.WithoutCancel(ctx)) // it ends by stop
}

func (f *riverFleet) load(ctx context.Context, jobs []job) error {
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		params[i].Args = riverJob{Input: j.input, Tokens: j.tokens}
	}
	_, err := f.clients[0].InsertManyFast(ctx, params)
	return err
}

func (f *riverFleet) failed(ctx context.Context) (n int, err error) {
	err = f.pools[0].QueryRow(ctx, `select count(*) from river_job where state = 'discarded'`).Scan(&n)
	return n, err
}

func (f *riverFleet) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), riverStop)
	defer cancel()
	errs := make([]error, len(f.clients))
	var all sync.WaitGroup
	for i, c := range f.clients {
		all.Go(func() { errs[i] = c.StopAndCancel(ctx) })
	}
	all.Wait()
	for i, pool := range f.pools {
		pool.Close()
		f.https[i].close()
	}
	return errors.Join(errs...)
}

type riverJob struct {
	Input  string `json:"input"`
	Tokens int64  `json:"tokens"`
}

func (riverJob) Kind() string { return "call" }

type riverWorker struct {
	river.WorkerDefaults[riverJob]
	client client
}

func (w *riverWorker) Work(ctx context.Context, j *river.Job[riverJob]) error {
	snoozes := snoozed(j.Metadata)
	got, err := w.client.call(ctx, fmt.Sprintf("%s/%d/%d", j.Args.Input, snoozes, j.Attempt), job{j.Args.Input, j.Args.Tokens})
	switch {
	case err != nil:
		return err
	case got.status == http.StatusTooManyRequests:
		return river.JobSnooze(limited(got.retryAfter, snoozes+1))
	case got.status != http.StatusOK:
		return fmt.Errorf("the provider answered %d", got.status)
	}
	return nil
}

// snoozed is how often a job was snoozed before, which River keeps in its metadata.
func snoozed(metadata []byte) int {
	var m struct {
		Snoozes int `json:"snoozes"`
	}
	_ = json.Unmarshal(metadata, &m) // without it, it was not
	return m.Snoozes
}

package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverQueue is River, the Go queue on Postgres.
type riverQueue struct {
	title    string
	settings riverSettings
	slow     bool // it would take minutes for all jobs
}

// riverSettings are what a River client may choose; 0 is its default.
type riverSettings struct {
	Workers        int
	Cooldown, Poll time.Duration
}

// River at the settings of its own benchmark, and as it comes, with the workers that its manual begins with. Where results
// are large it has to have fewer workers: the completions of 2,000 are one statement, which runs into River's time-out.
var (
	riverFastest  = riverQueue{"river", riverSettings{Workers: 2000, Cooldown: 2 * time.Millisecond, Poll: 20 * time.Millisecond}, false}
	riverLarge    = riverQueue{"river 100", riverSettings{Workers: 100, Cooldown: 2 * time.Millisecond, Poll: 20 * time.Millisecond}, false}
	riverDefaults = riverQueue{"river defaults", riverSettings{Workers: 100}, true}
)

// riverConns are the connections of a River client.
const riverConns = 10

func (r riverQueue) name() string { return r.title }

func (r riverQueue) portion(jobs int) int {
	if r.slow {
		return jobs / 10
	}
	return jobs
}

func (riverQueue) schema(ctx context.Context, url string) error {
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

// poolOf has so many connections at most.
func poolOf(ctx context.Context, url string, conns int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = conns
	return pgxpool.NewWithConfig(ctx, cfg)
}

// riverInserter is a client that works nothing.
func riverInserter(pool *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: quiet})
}

func (r riverQueue) fill(ctx context.Context, url string, l load) error {
	pool, err := poolOf(ctx, url, riverConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := riverInserter(pool)
	if err != nil {
		return err
	}
	jobs := make([]river.InsertManyParams, l.jobs)
	for i := range jobs {
		jobs[i].Args = riverJob(payload(i, l.payload))
	}
	for batch := range slices.Chunk(jobs, bulk) {
		if _, err := client.InsertManyFast(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (riverQueue) leftSQL() string {
	return `select exists (select from (select state from river_job order by id desc limit $1) newest where state <> 'completed')`
}

// riverJob is a job's JSON as it is.
type riverJob json.RawMessage

func (riverJob) Kind() string                   { return "work" }
func (j riverJob) MarshalJSON() ([]byte, error) { return j, nil }
func (j *riverJob) UnmarshalJSON(b []byte) error {
	*j = append((*j)[:0], b...)
	return nil
}

type riverSpec struct {
	URL      string
	Settings riverSettings
	Result   int
	Told     bool
}

func (r riverQueue) worker(url string, l load) (*exec.Cmd, error) {
	return self("river worker", riverSpec{URL: url, Settings: r.settings, Result: l.result, Told: l.told})
}

// riverHandler does nothing and records an output.
type riverHandler struct {
	river.WorkerDefaults[riverJob]
	tally *tally
	spec  riverSpec
}

type riverOutput struct {
	Text string `json:"output_text"`
}

func (h *riverHandler) Work(ctx context.Context, job *river.Job[riverJob]) error {
	if h.spec.Told {
		h.tally.begin(strconv.FormatInt(job.ID, 10))
	}
	return river.RecordOutput(ctx, riverOutput{text(h.tally.add(), h.spec.Result)})
}

// riverWorker is the process.
func riverWorker(ctx context.Context, spec []byte, parent parent) error {
	var s riverSpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	pool, err := poolOf(ctx, s.URL, riverConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	var t tally
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverHandler{tally: &t, spec: s})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: s.Settings.Workers}},
		FetchCooldown: s.Settings.Cooldown, FetchPollInterval: s.Settings.Poll, Workers: workers, Logger: quiet,
	})
	if err != nil {
		return err
	}
	go t.tell(ctx, parent.out)
	if err := parent.ready(ctx); err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	return client.StopAndCancel(ctx)
}

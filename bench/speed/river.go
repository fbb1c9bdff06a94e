package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/openai"
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

// call is the request for it: a payload is a prompt.
func (j riverJob) call() json.RawMessage {
	return append([]byte(`{"model":"gpt-5",`), j[1:]...)
}

type riverSpec struct {
	URL      string
	Settings riverSettings
	Result   int    // bytes, of a handler that makes no call
	Provider string // to call for each job; "": none
}

func (r riverQueue) worker(url string, l load) (*exec.Cmd, error) {
	return self("river worker", riverSpec{URL: url, Settings: r.settings, Result: l.result})
}

// riverHandler makes a call, or does nothing, and records an output.
type riverHandler struct {
	river.WorkerDefaults[riverJob]
	tally    *tally
	result   int
	provider llm.Provider // nil: no call
}

type riverOutput struct {
	Text string `json:"output_text"`
}

func (h *riverHandler) Work(ctx context.Context, job *river.Job[riverJob]) error {
	n := h.tally.add()
	if h.provider == nil {
		return river.RecordOutput(ctx, riverOutput{text(n, h.result)})
	}
	answer, err := h.provider.Call(ctx, llm.Request{ID: fmt.Sprintf("%d/%d", job.ID, job.Attempt), Body: job.Args.call()})
	if err != nil {
		return err
	}
	return river.RecordOutput(ctx, riverOutput{answer.OutputText})
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
	handler := &riverHandler{tally: &t, result: s.Result}
	if s.Provider != "" {
		handler.provider = openai.New(openai.Config{BaseURL: s.Provider, APIKey: "sk-bench"})
	}
	river.AddWorker(workers, handler)
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

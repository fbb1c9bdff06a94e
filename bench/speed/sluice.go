package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

// sluice is a worker of pkg/worker with a handler of one's own.
type sluice struct {
	title string
	job   jobtype.Type   // of the jobs that are handed over
	more  []jobtype.Type // that the worker has a handler for, too
}

// The types of job. Two name an upstream, which is then paced by whatever limit it shows: here, none.
var (
	plainType = customType("plain", "")
	pacedType = customType("paced", "quick")
	callType  = jobtype.Type{Name: "call", Upstream: "openai", Model: "bench", Priority: jobtype.DefaultPriority,
		MaxAttempts: jobtype.DefaultAttempts, Timeout: jobtype.DefaultTimeout}
	sluiceSet   = must(jobtype.NewSet(plainType, pacedType, callType))
	sluicePlain = sluice{title: "sluice", job: plainType}
	sluicePaced = sluice{title: "sluice paced", job: pacedType}
	sluiceCalls = sluice{title: "sluice", job: callType}
	sluiceBoth  = sluice{title: "sluice", job: plainType, more: []jobtype.Type{pacedType}}
)

func customType(name, of string) jobtype.Type {
	t := jobtype.Type{Name: name, Custom: true, Priority: jobtype.DefaultPriority, MaxAttempts: jobtype.DefaultAttempts, Timeout: time.Minute}
	if of != "" {
		t.Upstream, t.Model = of, "model"
	}
	return t
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What a Sluice worker of a drain is told; connections are those of bin/worker.
const (
	sluiceConcurrency = 2000
	sluiceConns       = 8
	sluicePulse       = 2
)

func (s sluice) name() string { return s.title }

func (sluice) portion(jobs int) int { return jobs }

func (s sluice) schema(ctx context.Context, url string) error {
	if err := pg.Migrate(ctx, url, quiet); err != nil {
		return err
	}
	db, err := pg.Open(ctx, url, pg.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	return queue.New(db, sluiceSet).Sync(ctx, 0, quiet)
}

func (s sluice) fill(ctx context.Context, url string, l load) error {
	return sluiceEnqueue(ctx, url, l, queue.NewJob{Type: s.job.Name})
}

// sluiceEnqueue enqueues jobs that are alike but for their payloads.
func sluiceEnqueue(ctx context.Context, url string, l load, like queue.NewJob) error {
	db, err := pg.Open(ctx, url, pg.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	q := queue.New(db, sluiceSet)
	batch := make([]queue.NewJob, 0, bulk)
	for i := range l.jobs {
		like.Payload = json.RawMessage(payload(i, l.payload))
		if batch = append(batch, like); len(batch) < bulk && i < l.jobs-1 {
			continue
		}
		if _, err := q.Enqueue(ctx, batch...); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return nil
}

func (sluice) leftSQL() string {
	return `select exists (select from (select state from jobs order by id desc limit $1) newest where state <> 'done')`
}

type sluiceSpec struct {
	URL    string
	Types  []string
	Result int
}

func (s sluice) worker(url string, l load) (*exec.Cmd, error) {
	spec := sluiceSpec{URL: url, Types: []string{s.job.Name}, Result: l.result}
	for _, t := range s.more {
		spec.Types = append(spec.Types, t.Name)
	}
	return self("sluice worker", spec)
}

// quiet drops logs: the figures come from elsewhere.
var quiet = slog.New(slog.DiscardHandler)

// sluiceWorker is the process: what cmd/worker is, with a handler of its own.
func sluiceWorker(ctx context.Context, spec []byte, parent parent) error {
	var s sluiceSpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	db, err := pg.Open(ctx, s.URL, pg.Options{MaxConns: sluiceConns, AppName: "sluice-worker"})
	if err != nil {
		return err
	}
	defer db.Close()
	pulse, err := pg.Open(ctx, s.URL, pg.Options{MaxConns: sluicePulse, AppName: "sluice-pulse"})
	if err != nil {
		return err
	}
	defer pulse.Close()
	w := worker.New(db, pulse, upstream.New(db), worker.Config{
		Types: sluiceSet, Concurrency: sluiceConcurrency, DeathAfter: 30 * time.Second, Share: 1, ListenURL: s.URL,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	var t tally
	for _, name := range s.Types {
		w.Handle(name, func(context.Context, worker.Job) (worker.Result, error) {
			return worker.Result{OutputText: text(t.add(), s.Result)}, nil
		})
	}
	go t.tell(ctx, parent.out)
	if err := parent.ready(ctx); err != nil {
		return err
	}
	return w.Run(ctx)
}

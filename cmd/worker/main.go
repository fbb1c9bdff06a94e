// Command worker runs jobs: any number of these processes share one queue, one breaker and one quota for each upstream.
// SIGTERM or an interrupt stops claiming, lets running calls end within SLUICE_DRAIN_LIMIT, and gives the rest back. Another
// one, a second later or more, ends the process at once; then others find its jobs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/openai"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/telemetry"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/webhook"
	"github.com/sluicedev/sluice/pkg/worker"
)

// Connections to Postgres. A worker with thousands of calls in flight needs no more: calls hold none.
const (
	mainConns  = 8
	pulseConns = 2 // beats have their own, so that nothing can starve them
)

const gcPercent = 40 // of the live heap

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	heedInsistence(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

// heedInsistence has a further signal end the process at once, but none that comes within a second of the first: that is
// the same one, which timeout(1) and other parents send to the process and then to its whole group.
func heedInsistence(ctx context.Context, stop func()) {
	context.AfterFunc(ctx, func() { time.AfterFunc(echo, stop) })
}

const echo = time.Second

// thrifty has garbage collected earlier than usual, unless GOGC says otherwise: a worker waits for most of its time, with
// thousands of calls in its memory, of which half would else be garbage.
func thrifty() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		return help(args, stdout)
	}
	cfg, err := config.Worker(config.Environ(environ))
	if err != nil {
		return err
	}
	log := telemetry.Logger(stderr, cfg.LogLevel)
	thrifty()

	db, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), pg.Options{MaxConns: mainConns, AppName: "sluice-worker"})
	if err != nil {
		return err
	}
	defer db.Close()
	pulse, err := pg.Open(ctx, cfg.DatabaseURL.Reveal(), pg.Options{MaxConns: pulseConns, AppName: "sluice-pulse"})
	if err != nil {
		return err
	}
	defer pulse.Close()
	if err := introduce(ctx, db, cfg, log); err != nil {
		return err
	}
	metrics := telemetry.NewWorker()
	metrics.Pools(map[string]*pgxpool.Pool{"main": db, "pulse": pulse})
	deliverer, err := newDeliverer(db, cfg, metrics.Delivered, log)
	if err != nil {
		return err
	}
	tracer, flush, err := telemetry.Traces(ctx, "sluice-worker", config.Environ(environ), log)
	if err != nil {
		return fmt.Errorf("OTEL_*: %w", err)
	}
	defer telemetry.Flush(flush, log)
	hooks := metrics.Hooks()
	if tracer != nil {
		hooks.Calling, hooks.TraceID = tracer.Call, telemetry.TraceID
	}
	rules := breaker.DefaultRules
	rules.HoldFor = cfg.HoldProbeInterval
	w := worker.New(db, pulse, upstream.New(db).WithRules(rules).Telling(metrics.BreakerChanged), worker.Config{
		Types: cfg.Types, Providers: providers(cfg), Concurrency: cfg.Concurrency, DeathAfter: cfg.DeathAfter,
		DrainLimit: cfg.DrainLimit, Share: cfg.UpstreamShare, ListenURL: cfg.DirectDatabaseURL.Reveal(),
		Owed: deliverer.Owed, Hooks: hooks, Log: log,
	})
	metrics.Load(w.Load)
	stopAdmin, err := serveAdmin(cfg.AdminAddr, db, metrics.Handler(), log)
	if err != nil {
		return err
	}
	defer stopAdmin()
	return work(ctx, w, deliverer)
}

// work runs jobs and delivers webhooks until ctx ends and the last call of either has ended.
func work(ctx context.Context, w *worker.Worker, deliverer *webhook.Deliverer) error {
	var delivering sync.WaitGroup
	defer delivering.Wait() // for calls in flight
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	delivering.Go(func() { deliverer.Run(ctx) })
	return w.Run(ctx)
}

// introduce tells the database what is configured, once its schema is this release's.
func introduce(ctx context.Context, db pg.DB, cfg config.WorkerConfig, log *slog.Logger) error {
	if err := pg.Migrated(ctx, db); err != nil {
		return err
	}
	if err := queue.New(db, cfg.Types).Sync(ctx, cfg.TypesVersion, log); err != nil {
		return err
	}
	return webhook.Sync(ctx, db, cfg.TypesVersion, endpoints(cfg))
}

func providers(cfg config.WorkerConfig) map[string]llm.Provider {
	all := map[string]llm.Provider{}
	for name, u := range cfg.Upstreams {
		all[name] = openai.New(openai.Config{BaseURL: u.BaseURL, APIKey: u.APIKey.Reveal()})
	}
	return all
}

func help(args []string, out io.Writer) error {
	switch args[0] {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(out, "worker runs jobs until it gets SIGTERM. It takes no arguments; its settings come from the environment:\n\n")
		fmt.Fprint(out, config.Help("worker"))
		return nil
	}
	return errors.New("takes no arguments but help; its settings come from the environment")
}

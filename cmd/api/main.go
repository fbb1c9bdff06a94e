// Command api serves Sluice over HTTP. Any number of these processes share one database; none has a state of its own.
//
//	api              serves until SIGTERM or an interrupt, and lets open requests end
//	api migrate      brings the database's schema to this version, tells it the configured types, and exits
//	api migrate wait returns when somebody has done that, or ten minutes are over
//	api key          makes, lists and revokes API keys
//	api healthcheck  asks the server on this machine whether it is ready, for containers without curl
//	api help         lists the settings
//
// It never migrates unless asked to, and refuses to serve on a schema that is too old for it.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/sluicedev/sluice/pkg/api"
	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/key"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/telemetry"
	"github.com/sluicedev/sluice/pkg/upstream"
)

const (
	maxConns           = 20              // to Postgres; requests hold one for a statement, not for their length
	healthcheckTimeout = 5 * time.Second // longer than /readyz takes at most

	gcPercent   = 400       // see unhurried
	memoryLimit = 384 << 20 // bytes, soft: three times what all bodies may take
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once, but not one within a second: timeout(1) and other parents send the first one twice.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	unhurried()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// unhurried has garbage collected later than usual, unless GOGC or GOMEMLIMIT say otherwise: little of what a request
// leaves behind outlives it, so there is next to nothing to be kept. Above the limit it is collected as early as ever.
func unhurried() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "key" {
		return keys(ctx, args[1:], environ, stdout, stderr)
	}
	verb := strings.Join(args, " ")
	switch verb {
	case "help", "-h", "-help", "--help":
		_, err := fmt.Fprintf(stdout, "usage: api [serve | migrate | migrate wait | key | healthcheck | help]\n\n`api key help` tells about API keys. Settings, from the environment:\n\n%s", config.Help("api"))
		return err
	case "", "serve", "migrate", "migrate wait", "healthcheck":
	default:
		return fmt.Errorf("%q is none of serve, migrate, migrate wait, key, healthcheck, help", verb)
	}
	cfg, err := config.API(config.Environ(environ))
	if err != nil {
		return err
	}
	log := telemetry.Logger(stderr, cfg.LogLevel)
	switch verb {
	case "migrate":
		return migrate(ctx, cfg, log)
	case "migrate wait":
		return waitMigrated(ctx, lookMigrated(cfg), log)
	case "healthcheck":
		return healthcheck(ctx, cfg)
	}
	return serve(ctx, cfg, environ, log)
}

func migrate(ctx context.Context, cfg config.APIConfig, log *slog.Logger) error {
	if err := pg.Migrate(ctx, cfg.DirectDatabaseURL.Reveal(), log); err != nil {
		return err
	}
	db, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	return introduce(ctx, db, cfg, log)
}

func open(ctx context.Context, cfg config.APIConfig) (*pgxpool.Pool, error) {
	return pg.Open(ctx, cfg.DatabaseURL.Reveal(), pg.Options{MaxConns: maxConns, AppName: "sluice-api"})
}

// introduce tells the database the configured types, so that SQL can enqueue, and their upstreams, so that they are seen
// before the first call.
func introduce(ctx context.Context, db pg.DB, cfg config.APIConfig, log *slog.Logger) error {
	var names []string
	for _, t := range cfg.Types.All() {
		names = append(names, t.UpstreamNames()...)
	}
	if err := upstream.New(db).Ensure(ctx, names...); err != nil {
		return err
	}
	return queue.New(db, cfg.Types).Sync(ctx, cfg.TypesVersion, log)
}

func serve(ctx context.Context, cfg config.APIConfig, environ []string, log *slog.Logger) error {
	db, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := pg.Migrated(ctx, db); err != nil {
		return err
	}
	if err := introduce(ctx, db, cfg, log); err != nil {
		return err
	}
	ring, err := keyRing(ctx, db, cfg, log)
	if err != nil {
		return err
	}
	metrics := telemetry.NewAPI()
	tracer, flush, err := telemetry.Traces(ctx, "sluice-api", config.Environ(environ), log)
	if err != nil {
		return fmt.Errorf("OTEL_*: %w", err)
	}
	defer telemetry.Flush(flush, log)
	var enqueuing func(context.Context, http.Header, int) (string, func(error))
	if tracer != nil {
		enqueuing = tracer.Enqueue
	}
	metrics.Pools(map[string]*pgxpool.Pool{"main": db})
	server, err := api.New(api.Config{
		Queue: queue.New(db, cfg.Types), Upstreams: upstream.New(db).Telling(metrics.BreakerChanged), DB: db, Keys: ring, CORSOrigins: cfg.CORSOrigins,
		MaxQueued: cfg.MaxQueued, RateLimit: cfg.RateLimit, ListenURL: cfg.DirectDatabaseURL.Reveal(), Simulator: cfg.DemoSimulator, Log: log,
		Metrics: metrics.Handler(), Answered: metrics.Answered, Enqueuing: enqueuing,
	})
	if err != nil {
		return err
	}
	metrics.Streams(server.Streams)
	metrics.Fleet(telemetry.Fleet{
		Counts: server.Counts, Upstreams: server.Upstreams, Backlog: server.Backlog, Limit: api.ProbeTimeout, Log: log,
	})
	return listen(ctx, server, cfg, log)
}

// listen serves on the API's port, and on the operator's where there is one.
func listen(ctx context.Context, server *api.Server, cfg config.APIConfig, log *slog.Logger) error {
	public, err := net.Listen("tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Port)))
	if err != nil {
		return fmt.Errorf("SLUICE_HOST, PORT: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	if cfg.AdminAddr != "" {
		admin, err := net.Listen("tcp", cfg.AdminAddr)
		if err != nil {
			public.Close()
			return fmt.Errorf("SLUICE_ADMIN_ADDR: %w", err)
		}
		log.Info("admin endpoints", "address", "http://"+admin.Addr().String())
		group.Go(func() error { return server.ServeAdmin(ctx, admin) })
	}
	log.Info("listening", "address", "http://"+public.Addr().String())
	group.Go(func() error { return server.Serve(ctx, public) })
	return group.Wait()
}

// keyRing is nil where nobody is asked for a key.
func keyRing(ctx context.Context, db pg.DB, cfg config.APIConfig, log *slog.Logger) (*key.Ring, error) {
	if cfg.Auth == config.AuthOff {
		return nil, nil
	}
	store := key.NewStore(db)
	keys, err := store.List(ctx, "")
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		log.Warn("there is no API key yet, so nobody can do anything: make one with `api key create`")
	}
	return key.NewRing(store, log), nil
}

func healthcheck(ctx context.Context, cfg config.APIConfig) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(cfg.Host, cfg.Port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		problem, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // best effort: the status says enough
		return fmt.Errorf("healthcheck: not ready: %s: %s", resp.Status, problem)
	}
	return nil
}

// reachable is an address at which a server that listens on host can be asked from the same machine.
func reachable(host string, port int) string {
	switch ip := net.ParseIP(host); {
	case host == "" || ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

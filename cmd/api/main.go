// Command api serves Sluice over HTTP. Any number of these processes share one database; none has a state of its own.
//
//	api              serves until SIGTERM or an interrupt, and lets open requests end
//	api migrate      brings the database's schema to this version, tells it the configured types, and exits
//	api migrate wait returns when somebody has done that, or ten minutes are over
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/sluicedev/sluice/pkg/api"
	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/telemetry"
	"github.com/sluicedev/sluice/pkg/upstream"
)

const (
	maxConns           = 20              // to Postgres; requests hold one for a statement, not for their length
	healthcheckTimeout = 5 * time.Second // longer than /readyz takes at most
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	verb := strings.Join(args, " ")
	switch verb {
	case "help", "-h", "-help", "--help":
		_, err := fmt.Fprintf(stdout, "usage: api [serve | migrate | migrate wait | healthcheck | help]\n\nSettings, from the environment:\n\n%s", config.Help("api"))
		return err
	case "", "serve", "migrate", "migrate wait", "healthcheck":
	default:
		return fmt.Errorf("%q is none of serve, migrate, migrate wait, healthcheck, help", verb)
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
		return waitMigrated(ctx, cfg, log)
	case "healthcheck":
		return healthcheck(ctx, cfg)
	}
	return serve(ctx, cfg, log)
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

func serve(ctx context.Context, cfg config.APIConfig, log *slog.Logger) error {
	if cfg.Auth == config.AuthRequired {
		return fmt.Errorf("SLUICE_AUTH: %s is not possible yet, API keys come in a later version: set it to %s where everyone "+
			"who reaches this address may do everything", config.AuthRequired, config.AuthOff)
	}
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
	metrics := telemetry.NewAPI()
	tracer, flush, err := telemetry.Traces(ctx, "sluice-api", config.Environ(os.Environ()))
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
		Metrics: metrics.Handler(), Answered: metrics.Answered, Enqueuing: enqueuing,
		Queue: queue.New(db, cfg.Types), Upstreams: upstream.New(db).Telling(metrics.BreakerChanged), DB: db, CORSOrigins: cfg.CORSOrigins, MaxQueued: cfg.MaxQueued, Log: log,
	})
	if err != nil {
		return err
	}
	metrics.Fleet(telemetry.Fleet{
		Counts: server.Counts, Upstreams: server.Upstreams, Backlog: server.Backlog, Limit: api.ProbeTimeout, Log: log,
	})
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

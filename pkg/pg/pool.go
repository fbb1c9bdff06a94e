package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Limits of the pool. Each gives way to the URL's parameter of the same meaning.
const (
	defaultMaxConns = 10               // pool_max_conns
	connectTimeout  = 10 * time.Second // connect_timeout
	pingTimeout     = 5 * time.Second  // pool_ping_timeout
	maxConnLifetime = 30 * time.Minute // pool_max_conn_lifetime: how long a moved server keeps old connections
	lifetimeJitter  = 5 * time.Minute  // pool_max_conn_lifetime_jitter: so that a fleet does not reconnect as one

	// openTimeout bounds the first contact in Open, however many hosts the URL names.
	openTimeout = 15 * time.Second
)

// keepAlive finds a server that vanished without a word within half a minute, not within the kernel's two hours.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Options are the caller's wishes for a pool. The URL's own parameters win over them.
type Options struct {
	MaxConns int32  // connections at most; 0 means 10
	AppName  string // application_name, as shown in pg_stat_activity
}

// Open returns a pool on the database of url, after one answered ping, within 15 seconds.
// The error names host, user and database, never the password.
func Open(ctx context.Context, url string, opts Options) (*pgxpool.Pool, error) {
	cfg, err := poolConfig(url, opts)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return pool, nil
}

// poolConfig reads url and adds our defaults wherever it says nothing.
func poolConfig(url string, opts Options) (*pgxpool.Config, error) {
	conn, err := connConfig(url, opts.AppName)
	if err != nil {
		return nil, err
	}
	given := conn.RuntimeParams // still holds the pool_* parameters, which only pgxpool takes out
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, parseError(url, err)
	}
	prepare(cfg.ConnConfig, opts.AppName)
	if given["pool_max_conns"] == "" {
		cfg.MaxConns = max(opts.MaxConns, 0)
		if cfg.MaxConns == 0 {
			cfg.MaxConns = defaultMaxConns
		}
	}
	if given["pool_max_conn_lifetime"] == "" {
		cfg.MaxConnLifetime = maxConnLifetime
	}
	if given["pool_max_conn_lifetime_jitter"] == "" {
		cfg.MaxConnLifetimeJitter = lifetimeJitter
	}
	if given["pool_ping_timeout"] == "" {
		cfg.PingTimeout = pingTimeout
	}
	return cfg, nil
}

// connConfig reads url for a single connection.
func connConfig(url, appName string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, parseError(url, err)
	}
	prepare(cfg, appName)
	return cfg, nil
}

// directConfig is connConfig for a connection without a pool: pool_* parameters are meant for a pool, and the
// server would refuse them.
func directConfig(url, appName string) (*pgx.ConnConfig, error) {
	cfg, err := connConfig(url, appName)
	if err != nil {
		return nil, err
	}
	for name := range cfg.RuntimeParams {
		if strings.HasPrefix(name, "pool_") {
			delete(cfg.RuntimeParams, name)
		}
	}
	return cfg, nil
}

// prepare adds what every connection of ours has.
func prepare(cfg *pgx.ConnConfig, appName string) {
	if cfg.RuntimeParams["application_name"] == "" && appName != "" {
		cfg.RuntimeParams["application_name"] = appName
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout, KeepAliveConfig: keepAlive}
	cfg.DialFunc = dialer.DialContext
	cfg.OnPgError = survives
}

// survives tells pgx whether a connection may live on after an error of the server. FATAL ends the session anyway
// (57P01, a shutdown, is one). A read-only error means that this server was demoted in a failover: the session would
// answer reads and refuse every write until somebody restarts us.
func survives(_ *pgconn.PgConn, err *pgconn.PgError) bool {
	return !strings.EqualFold(err.Severity, "FATAL") && err.Code != readOnlyTransaction
}

// parseError explains why a URL was refused. Where its parts cannot be told apart (an unescaped # or / in the
// password, say), pgx's own words may quote a piece of the password, so they are left out.
func parseError(rawURL string, err error) error {
	const hint = "the database URL is malformed: it has to look like postgres://user:password@host:5432/database, " +
		"with special characters of the password percent-encoded"
	if u, e := url.Parse(rawURL); e != nil || u.Scheme == "" || u.Host == "" && u.RawQuery == "" {
		return errors.New(hint)
	}
	return fmt.Errorf("the database URL is not usable: %w", err)
}

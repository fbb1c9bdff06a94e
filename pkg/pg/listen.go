package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// listenTimes are the patience of Listen; tests shorten them.
type listenTimes struct {
	quiet    time.Duration // silence after which the connection is asked whether it still lives
	answer   time.Duration // how long it has to answer that, and to connect
	minPause time.Duration // before the first new connection
	maxPause time.Duration
}

var defaultListenTimes = listenTimes{
	quiet: 15 * time.Second, answer: 5 * time.Second, minPause: 100 * time.Millisecond, maxPause: 10 * time.Second,
}

// Listen hands every notification on the channels to onNotify until ctx ends, and returns ctx's error. It has a
// connection of its own on url, which has to be a direct one, and makes a new one, after a growing random pause,
// whenever that is lost. Silence is no proof of life: a half-open connection looks just like a quiet one, so each 15
// seconds of it are answered by a ping.
//
// onChange(nil) says that it is listening, for the first time or again: what was sent before is lost for good, so this
// is the moment to poll. onChange(err) says why it is not. Neither function may block: while one runs, nothing is heard.
//
// Nothing may depend on a notification: it is only a faster way to learn what polling learns.
func Listen(ctx context.Context, url string, channels []string,
	onNotify func(channel, payload string), onChange func(err error)) error {
	return listen(ctx, url, channels, onNotify, onChange, defaultListenTimes)
}

func listen(ctx context.Context, url string, channels []string,
	onNotify func(channel, payload string), onChange func(err error), times listenTimes) error {
	cfg, err := directConfig(url, "sluice-listen")
	if err != nil {
		return err
	}
	for pause := times.minPause; ; pause = min(2*pause, times.maxPause) {
		listening := false
		err := listenOnce(ctx, cfg, channels, onNotify, func() { listening = true; onChange(nil) }, times)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		onChange(err)
		if listening {
			pause = times.minPause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

// listenOnce listens on one connection until it is lost, and says why.
func listenOnce(ctx context.Context, cfg *pgx.ConnConfig, channels []string,
	onNotify func(channel, payload string), onListening func(), times listenTimes) error {
	conn, err := subscribe(ctx, cfg, channels, times.answer)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer closeSoon(conn, times.answer)
	onListening()
	for {
		n, err := waitQuiet(ctx, conn, times.quiet)
		switch {
		case err == nil:
			onNotify(n.Channel, n.Payload)
		case !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil:
			return fmt.Errorf("listen: %w", err)
		default:
			if err := ping(ctx, conn, times.answer); err != nil {
				return fmt.Errorf("listen: no answer after silence: %w", err)
			}
		}
	}
}

// subscribe connects and issues the LISTENs, all within timeout.
func subscribe(ctx context.Context, cfg *pgx.ConnConfig, channels []string, timeout time.Duration) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, channel := range channels {
		if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
			closeSoon(conn, timeout)
			return nil, err
		}
	}
	return conn, nil
}

// closeSoon says goodbye to the server without waiting for one that does not answer.
func closeSoon(conn *pgx.Conn, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn.Close(ctx)
}

func waitQuiet(ctx context.Context, conn *pgx.Conn, quiet time.Duration) (*pgconn.Notification, error) {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	return conn.WaitForNotification(ctx)
}

func ping(ctx context.Context, conn *pgx.Conn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return conn.Ping(ctx)
}

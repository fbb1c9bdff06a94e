package pg_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// listener runs Listen for a test and hands out what it says.
type listener struct {
	notes   chan string
	changes chan error
}

func listenTo(t *testing.T, answer time.Duration, url string, channels ...string) *listener {
	t.Helper()
	l := &listener{make(chan string, 100), make(chan error, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- pg.ListenTimed(ctx, url, channels,
			func(channel, payload string) { l.notes <- channel + ":" + payload },
			func(err error) { l.changes <- err }, pg.QuickListenTimes(answer))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Listen ended with %v", err)
		}
	})
	return l
}

// waitLost and waitListening wait for the two kinds of change.
func (l *listener) waitLost(t *testing.T) {
	t.Helper()
	if err := <-l.changes; err == nil {
		t.Fatal("listening; want lost")
	}
}

func (l *listener) waitListening(t *testing.T) {
	t.Helper()
	for err := range l.changes {
		if err == nil {
			return
		}
	}
}

func (l *listener) want(t *testing.T, want string) {
	t.Helper()
	if got := <-l.notes; got != want {
		t.Errorf("heard %q; want %q", got, want)
	}
}

func notify(t *testing.T, pool *pgxpool.Pool, channel, payload string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "select pg_notify($1, $2)", channel, payload); err != nil {
		t.Fatal(err)
	}
}

func TestListenHearsAndComesBack(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool := open(t, url)
	l := listenTo(t, time.Minute, url, "jobs", `odd "name"`)
	l.waitListening(t)
	notify(t, pool, "jobs", "1")
	l.want(t, "jobs:1")
	notify(t, pool, `odd "name"`, "2")
	l.want(t, `odd "name":2`)

	mustExec(t, pool, `select pg_terminate_backend(pid) from pg_stat_activity
		where datname = current_database() and application_name = 'sluice-listen'`)
	l.waitLost(t)
	l.waitListening(t)
	notify(t, pool, "jobs", "3")
	l.want(t, "jobs:3")
}

func TestListenNoticesAHalfOpenConnection(t *testing.T) {
	t.Parallel()
	direct := pgtest.URL(t)
	proxy := newProxy(t, direct)
	l := listenTo(t, time.Second, proxy.url, "jobs")
	l.waitListening(t)
	proxy.freeze() // no reset, no end: just nothing more, ever
	l.waitLost(t)
	l.waitListening(t)
	pool := open(t, direct)
	for heard := false; !heard; { // a busy machine, too, may not answer within a second, and then a notification is lost
		notify(t, pool, "jobs", "heard")
		select {
		case note := <-l.notes:
			if heard = true; note != "jobs:heard" {
				t.Errorf("heard %q", note)
			}
		case <-l.changes:
		case <-time.After(time.Second):
		}
	}
}

// proxy passes connections on to a server, and can make the present ones go silent.
type proxy struct {
	url string

	mu     sync.Mutex
	silent chan struct{} // closed by freeze, and replaced for later connections
}

func newProxy(t *testing.T, raw string) *proxy {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if u.Port() == "" {
		t.Fatal("the test server is not reached over TCP")
	}
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	u.Host = in.Addr().String()
	p := &proxy{url: u.String(), silent: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := in.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			p.mu.Lock()
			silent := p.silent
			p.mu.Unlock()
			go pass(server, client, silent)
			go pass(client, server, silent)
		}
	})
	t.Cleanup(func() { in.Close(); running.Wait() })
	return p
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.silent)
	p.silent = make(chan struct{})
}

// pass copies until silent is closed; from then on it swallows.
func pass(to io.Writer, from io.Reader, silent <-chan struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-silent:
		default:
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}

package worker_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/pg"
)

// link is a way to Postgres that a test can cut.
type link struct {
	t        *testing.T
	listener net.Listener
	server   string
	through  string // the URL of the same database through the link

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func (f *fleet) link() *link {
	f.t.Helper()
	u, err := url.Parse(f.url)
	if err != nil || u.Host == "" {
		f.t.Fatal("the test database is not reached over TCP")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	l := &link{t: f.t, listener: listener, server: u.Host, conns: map[net.Conn]bool{}}
	u.Host = listener.Addr().String()
	l.through = u.String()
	go l.serve()
	f.t.Cleanup(func() {
		listener.Close()
		l.sever()
	})
	return l
}

func (l *link) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.server)
		if err != nil || !l.keep(client, server) {
			client.Close()
			continue
		}
		go pipe(client, server)
		go pipe(server, client)
	}
}

func (l *link) keep(client, server net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		server.Close()
		return false
	}
	l.conns[client], l.conns[server] = true, true
	return true
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // ends when either side does, however it does
	to.Close()
	from.Close()
}

// sever breaks every connection and refuses new ones.
func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// slowReply is a database whose replies a test can hold up or lose: executed is called for each statement when Postgres
// has executed it. While it runs the reply is under way; if it fails, the reply is lost.
type slowReply struct {
	pg.DB
	executed func(sql string) error
}

var errLost = errors.New("the reply was lost")

func (d slowReply) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := d.DB.Query(ctx, sql, args...)
	if err != nil {
		return rows, err
	}
	if err := d.executed(sql); err != nil {
		rows.Close()
		return nil, err
	}
	return rows, nil
}

func (d slowReply) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := d.Query(ctx, sql, args...)
	return onlyRow{rows, err}
}

func (d slowReply) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return slowResults{d.DB.SendBatch(ctx, batch), batch.QueuedQueries, d.executed}
}

// looker is a database that counts how often its worker has looked at the breakers.
type looker struct {
	slowReply
	looks atomic.Int64
}

func (f *fleet) looker() *looker {
	f.t.Helper()
	l := &looker{}
	l.slowReply = slowReply{f.pool(f.url), func(sql string) error {
		if isLook(sql) {
			l.looks.Add(1)
		}
		return nil
	}}
	return l
}

// untilLooked waits until each worker has looked anew: the first look may have been under way, and what came of the last
// one may not have been done yet.
func (f *fleet) untilLooked(all ...*looker) {
	f.t.Helper()
	enough := make([]int64, len(all))
	for i, l := range all {
		enough[i] = l.looks.Load() + 3
	}
	for i, l := range all {
		f.until("a worker looks at the breakers", func() bool { return l.looks.Load() >= enough[i] })
	}
}

// slowResults are of a batch, which is executed when they are closed.
type slowResults struct {
	pgx.BatchResults
	queries  []*pgx.QueuedQuery
	executed func(sql string) error
}

func (r slowResults) Close() error {
	err := r.BatchResults.Close()
	for _, q := range r.queries {
		if err == nil {
			err = r.executed(q.SQL)
		}
	}
	return err
}

// onlyRow is the first of some rows.
type onlyRow struct {
	rows pgx.Rows
	err  error
}

func (r onlyRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		return errors.Join(r.rows.Err(), pgx.ErrNoRows)
	}
	if err := r.rows.Scan(into...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// loseOnce loses the reply to the first statement of a kind.
func loseOnce(kind func(sql string) bool) func(string) error {
	var once sync.Once
	return func(sql string) (err error) {
		if kind(sql) {
			once.Do(func() { err = errLost })
		}
		return err
	}
}

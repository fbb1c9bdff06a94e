package api

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
)

// sessions counts the database's connections of one name.
func (s *site) sessions(name string) (n int) {
	s.t.Helper()
	must(s.t, s.pool.QueryRow(s.t.Context(), `select count(*) from pg_stat_activity where datname = current_database() and application_name = $1`, name).Scan(&n))
	return n
}

// statements is a tracer that counts.
type statements struct{ n atomic.Int64 }

func (c *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}

func (c *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (c *statements) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {
	c.n.Add(1)
}

func (c *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// counted is a site whose statements are counted, and which listens.
func counted(t testing.TB) (*site, *statements) {
	t.Helper()
	url, count := pgtest.URL(t), &statements{}
	cfg, err := pgxpool.ParseConfig(url)
	must(t, err)
	cfg.MaxConns, cfg.ConnConfig.Tracer = 20, count
	cfg.ConnConfig.RuntimeParams["application_name"] = "api"
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	must(t, err)
	t.Cleanup(pool.Close)
	return openWith(t, pool, func(s *Server) {
		s.hub = newHub(s, url)
		s.limits.request = patience // a crowd on a busy machine
	}), count
}

// Two thousand streams of two thousand jobs cost the database one listener and a handful of statements a second, tell
// their events, and leave room for other requests.
//
// It runs beside no other test of the package: two thousand clients take the machine for themselves.
func TestTwoThousandStreams(t *testing.T) {
	s, count := counted(t)
	s.works()

	const crowd = 2000
	batch := decode[BatchResponse](s, s.do("POST", "/api/ai/enqueue/batch", "["+strings.Repeat(plainJob+",", crowd-1)+plainJob+"]"), http.StatusAccepted)
	conns, streams := make([]net.Conn, crowd), make([]*bufio.Reader, crowd)
	sent := count.n.Load()
	opened := time.Now()
	var all sync.WaitGroup
	for i, id := range batch.Ids {
		conn := dial(t, strings.TrimPrefix(s.url, "http://"))
		conns[i] = conn
		_, err := fmt.Fprintf(conn, "GET %s/events HTTP/1.1\r\nHost: x\r\n\r\n", jobPath(id))
		must(t, err)
		streams[i] = bufio.NewReaderSize(conn, 512)
	}
	wait := func(what string) {
		t.Helper()
		for i := range streams {
			all.Go(func() {
				if err := conns[i].SetDeadline(time.Now().Add(patience)); err != nil {
					t.Error(err)
				}
				for {
					line, err := streams[i].ReadString('\n')
					if err != nil {
						t.Errorf("stream %d: %v, before %s", i, err, what)
						return
					}
					if strings.HasPrefix(line, "HTTP/1.1 ") && line != "HTTP/1.1 200 OK\r\n" {
						t.Errorf("stream %d: %s", i, line)
						return
					}
					if strings.Contains(line, what) {
						return
					}
				}
			})
		}
		all.Wait()
	}
	wait(`"state":"queued"`)
	perSecond := func(since time.Time, before int64) float64 {
		return float64(count.n.Load()-before) / time.Since(since).Seconds()
	}
	t.Logf("opened in %s, with %d statements", time.Since(opened), count.n.Load()-sent)
	if n := count.n.Load() - sent; n > crowd/10 && perSecond(opened, sent) > 12 {
		t.Errorf("to open %d streams took %d statements", crowd, n)
	}

	since, before := time.Now(), count.n.Load()
	for range 20 { // other requests meanwhile
		if a := s.do("GET", "/livez", ""); a.StatusCode != http.StatusOK {
			t.Errorf("livez: %d", a.StatusCode)
		}
		time.Sleep(100 * time.Millisecond) // the time in which statements are counted
	}
	if rate := perSecond(since, before); rate > 12 {
		t.Errorf("%.1f statements a second for %d streams at rest", rate, crowd)
	} else {
		t.Logf("%.1f statements a second at rest", rate)
	}
	listeners, pooled := s.sessions("sluice-listen"), s.sessions("api")
	t.Logf("%d listeners, %d connections of the pool, %d streams", listeners, pooled, s.server.streams.inside.Load())
	if listeners != 1 || pooled > 20 {
		t.Errorf("%d listeners, %d connections", listeners, pooled)
	}

	since, before = time.Now(), count.n.Load()
	_, err := s.pool.Exec(t.Context(), `with gone as (delete from ready) update jobs set state = 'cancelled', finished_at = now(), updated_at = now()`)
	must(t, err)
	_, err = s.pool.Exec(t.Context(), `select pg_notify($1, '')`, queue.StateChannel)
	must(t, err)
	wait(`"state":"cancelled"`)
	t.Logf("all told of their end in %s, with %d statements", time.Since(since), count.n.Load()-before)
	if n := count.n.Load() - before; n > crowd/10 && perSecond(since, before) > 12 {
		t.Errorf("to tell of %d ends took %d statements", crowd, n)
	}
	s.until("all streams have ended", func() bool { return s.server.streams.inside.Load() == 0 })
}

// While nobody watches, nobody looks and nobody listens.
func TestWatchingNothingCostsNothing(t *testing.T) {
	t.Parallel()
	s, count := counted(t)
	s.stream(s.enqueue(plainJob).EventsURL).state()
	before := count.n.Load()
	s.until("it looks", func() bool { return count.n.Load() > before })

	s, count = counted(t)
	before = count.n.Load()
	time.Sleep(2 * hubEvery) // the time in which there would be looks
	if n := count.n.Load() - before; n != 0 {
		t.Errorf("%d statements", n)
	}
	if n := s.sessions("sluice-listen"); n != 0 {
		t.Errorf("%d listeners", n)
	}
}

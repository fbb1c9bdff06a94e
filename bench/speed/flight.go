package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/bench/rig"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

const (
	firstLimit  = 2 * time.Minute // for the first call that a worker makes
	flightLimit = 2 * time.Minute // for all calls to be in flight, and again for all to be done
)

// caller starts bin/worker and has it make one call, after which it is known that the provider has no limit.
func (b *bench) caller(ctx context.Context, at database, provider *llmtest.Server, concurrency int, more ...string) (*rig.Process, error) {
	cmd, err := b.program("worker", at, append(more, "OPENAI_API_KEY=sk-bench", "OPENAI_BASE_URL="+provider.BaseURL(),
		"SLUICE_CONCURRENCY="+strconv.Itoa(concurrency), "SLUICE_UPSTREAM_SHARE=1", "SLUICE_DRAIN_LIMIT=0s")...)
	if err != nil {
		return nil, err
	}
	worker, err := rig.Start(cmd)
	if err != nil {
		return nil, err
	}
	if err = sluiceCalls.fill(ctx, at.url, lean(1)); err == nil {
		err = b.untilDone(ctx, at, 1, firstLimit)
	}
	if err != nil {
		worker.Stop(stopLimit)
		return nil, fmt.Errorf("the first call: %w; the worker's last words:\n%s", err, worker.LastWords())
	}
	return worker, nil
}

// untilDone waits for Sluice's newest jobs.
func (b *bench) untilDone(ctx context.Context, at database, jobs int, limit time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	db, err := pgx.Connect(ctx, at.url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	for left := true; left; rig.Pause(ctx, 5*lookEvery) {
		if err := db.QueryRow(ctx, sluiceCalls.leftSQL(), jobs).Scan(&left); err != nil {
			return fmt.Errorf("wait until %d jobs are done: %w", jobs, err)
		}
	}
	return nil
}

var (
	rssPerCall     = figure{"RSS KiB/call", 1}
	heapPerCall    = figure{"heap KiB/call", 1}
	cpuPerCall     = figure{"CPU us/call", 0}
	connections    = figure{"connections", 0}
	callsInFlight  = figure{"calls", 0}
	secondsToStart = figure{"s until all are", 1}
)

// flights are the calls that one worker has in flight.
func (b *bench) flights(ctx context.Context) error {
	return b.repeat(ctx, "in flight", b.trials, []entry{{count(b.calls, "call", "calls"), sluiceCalls.name(), func(ctx context.Context) (figures, error) {
		return b.fresh(ctx, sluiceCalls, func(at database) (figures, error) { return b.flight(ctx, at) })
	}}})
}

// flight has one worker make all calls at once, and looks at it while the provider keeps every one of them waiting.
func (b *bench) flight(ctx context.Context, at database) (got figures, err error) {
	provider, err := llmtest.Listen("127.0.0.1:0", llmtest.MaxCalls(1))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, provider.Close()) }()
	worker, err := b.caller(ctx, at, provider, b.calls, "SLUICE_ADMIN_ADDR=127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer worker.Stop(stopLimit)
	admin, err := worker.Find(ctx, adminAddress)
	if err != nil {
		return nil, err
	}
	before, err := cpuOf(worker.PID())
	if err != nil {
		return nil, err
	}
	provider.Hold()
	began := time.Now()
	if err := sluiceCalls.fill(ctx, at.url, lean(b.calls)); err != nil {
		return nil, err
	}
	if err := await(ctx, flightLimit, func(ctx context.Context) error { return provider.AwaitHeld(ctx, b.calls) }); err != nil {
		return nil, fmt.Errorf("%d of %d calls are in flight: %w; the worker's last words:\n%s", provider.Counts().Held, b.calls, err, worker.LastWords())
	}
	got = figures{callsInFlight: float64(b.calls), secondsToStart: time.Since(began).Seconds()}
	if err := b.lookAt(ctx, got, worker.PID(), admin[1], at); err != nil {
		return nil, err
	}
	provider.Release()
	if err := b.untilDone(ctx, at, b.calls, flightLimit); err != nil {
		return nil, err
	}
	after, err := cpuOf(worker.PID())
	got[cpuPerCall] = float64((after - before).Microseconds()) / float64(b.calls)
	return got, err
}

func await(ctx context.Context, limit time.Duration, event func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return event(ctx)
}

// lookAt adds what the worker holds while all calls are in flight: its memory as it is, what of its heap is in use after a
// collection, and its connections to Postgres.
func (b *bench) lookAt(ctx context.Context, got figures, pid int, admin string, at database) error {
	rss, err := rssOf(pid)
	if err != nil {
		return err
	}
	heap, err := heapOf(ctx, admin)
	if err != nil {
		return err
	}
	var conns int
	err = b.server.Admin.QueryRow(ctx, `select count(*) from pg_stat_activity where datname = $1 and application_name like 'sluice-%'`, at.name).Scan(&conns)
	got[rssPerCall], got[heapPerCall] = float64(rss)/1024/float64(b.calls), float64(heap)/1024/float64(b.calls)
	got[connections] = float64(conns)
	return err
}

var (
	adminAddress = regexp.MustCompile(`"admin endpoints","address":"([^"]+)"`)
	heapInUse    = regexp.MustCompile(`# HeapAlloc = (\d+)`)
	rssLine      = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
)

// heapOf asks a worker's admin address.
func heapOf(ctx context.Context, admin string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/debug/pprof/heap?gc=1&debug=1", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	profile, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return matched(heapInUse, profile)
}

// rssOf is the memory of a process, in bytes; 0 where only Linux could tell.
func rssOf(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	kib, err := matched(rssLine, status)
	return kib << 10, err
}

func matched(pattern *regexp.Regexp, text []byte) (int64, error) {
	found := pattern.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no %v in %.1000s", pattern, text)
	}
	return strconv.ParseInt(string(found[1]), 10, 64)
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
)

func main() {
	played, err := play()
	if !played {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

// options are what a person may choose.
type options struct {
	scale
	part, test, contender *regexp.Regexp // only those
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	flags.SetOutput(help)
	small := flags.Bool("quick", false, "run everything once and small, to see that it works; the figures mean nothing")
	pattern := func(name, usage string) func() *regexp.Regexp {
		text := flags.String(name, "", usage)
		return func() *regexp.Regexp {
			var re *regexp.Regexp
			if re, err = regexp.Compile(*text); err != nil {
				err = fmt.Errorf("-%s: %w", name, err)
			}
			return re
		}
	}
	part := pattern("only", "only parts whose name matches this `regexp`")
	test := pattern("test", "only tests of a part whose name matches this `regexp`")
	contender := pattern("contender", "only contenders whose name matches this `regexp`")
	jobs := flags.Int("jobs", 0, "`n` jobs in a drain (100000)")
	repeat := flags.Int("repeat", 0, "`n` trials of everything (3)")
	kept := flags.Int("kept", 0, "`n` finished jobs kept, in one test of flatness (1000000)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	o.scale = full
	if *small {
		o.scale = quick
	}
	if *jobs > 0 {
		o.jobs = *jobs
	}
	if *repeat > 0 {
		o.trials = *repeat
	}
	if *kept > 0 {
		o.kept = *kept
	}
	for _, p := range []struct {
		of *(*regexp.Regexp)
		to func() *regexp.Regexp
	}{{&o.part, part}, {&o.test, test}, {&o.contender, contender}} {
		if *p.of = p.to(); err != nil {
			return o, err
		}
	}
	return o, nil
}

// scale is how large everything is.
type scale struct {
	trials int
	jobs   int // in a drain
	large  int // in a drain of large jobs

	warm, span           time.Duration // of enqueueing: not counted, counted
	batch                int           // jobs in a request for many
	rates                []int         // jobs a second, of enqueue to start
	startWarm, startSpan time.Duration
	calls                int // in flight
	kept                 int // finished jobs that a queue holds beside those that are drained
	delayed, parked      int // delayed jobs, jobs of a paused upstream, likewise
	idleWarm, idleSpan   time.Duration
}

var (
	full = scale{
		trials: 3, jobs: 100_000, large: 20_000, warm: 500 * time.Millisecond, span: 5 * time.Second, batch: bulk,
		rates: []int{50, 500}, startWarm: time.Second, startSpan: 10 * time.Second, calls: 10_000,
		kept: 1_000_000, delayed: 1_000_000, parked: 100_000,
		idleWarm: 5 * time.Second, idleSpan: 30 * time.Second,
	}
	quick = scale{
		trials: 1, jobs: 2_000, large: 200, warm: 50 * time.Millisecond, span: 300 * time.Millisecond, batch: 100,
		rates: []int{50}, startWarm: 100 * time.Millisecond, startSpan: 500 * time.Millisecond, calls: 100,
		kept: 2_000, delayed: 2_000, parked: 1_000,
		idleWarm: 500 * time.Millisecond, idleSpan: time.Second,
	}
)

// bench is one run of the benchmark.
type bench struct {
	options
	dir      string // of Sluice's programs
	server   *rig.Postgres
	progress io.Writer
	rows     []*row
	node     *nodeHome // nil: the peers that run on Node.js are left out

	databases int // made so far
}

// The server's settings: the machine's memory for its buffers, and no checkpoint but ours.
const maxConnections = 400

var settings = map[string]string{
	"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min",
	"pg_stat_statements.track": "none", // but where it is asked for
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "building Sluice, starting a private PostgreSQL")
	dir, remove, err := rig.Build(ctx, "./cmd/api", "./cmd/worker")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	server, err := rig.StartPostgres(ctx, maxConnections, settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	b := &bench{options: o, dir: dir, server: server, progress: progress}
	if err := b.fetchPeers(ctx); err != nil {
		return err
	}
	for _, p := range parts {
		if !o.part.MatchString(p.name) {
			continue
		}
		if err := p.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	b.print(out)
	return nil
}

// fetchPeers gets those that run on Node.js, if any is asked for. Without npm they are left out, but not in CI.
func (b *bench) fetchPeers(ctx context.Context) error {
	wanted := slices.ContainsFunc(b.nodePeers(), func(p nodePeer) bool { return b.contender.MatchString(p.name()) })
	if !wanted {
		return nil
	}
	home := &nodeHome{}
	err := home.settle(ctx, b.dir)
	switch {
	case err == nil:
		b.node = home
	case os.Getenv("CI") == "true":
		return fmt.Errorf("the peers that run on Node.js: %w", err)
	default:
		fmt.Fprintf(b.progress, "graphile-worker and pg-boss are left out: %v\n", err)
	}
	return nil
}

// part is a chapter of the benchmark.
type part struct {
	name    string
	run     func(*bench, context.Context) error
	columns []figure // the range of the first is told
}

var parts = []part{
	{"enqueue", (*bench).enqueues, []figure{enqueueRate, answerP50, answerP99}},
	{"enqueue to start", (*bench).starts, []figure{startP50, startP95, startP99, fromSentP50, fromSentP99, startedCount}},
	{"in flight", (*bench).flights, []figure{rssPerCall, heapPerCall, cpuPerCall, connections, secondsToStart}},
	{"idle", (*bench).idles, []figure{queryRate, commitRate, idleCPU}},
	{"flatness", (*bench).flats, []figure{jobRate, postgresCPU, workerCPU, walBytes, commitCount}},
	{"drain", (*bench).drains, []figure{jobRate, postgresCPU, workerCPU, walBytes, commitCount}},
}

// print writes a table for each part.
func (b *bench) print(out io.Writer) {
	for _, p := range parts {
		if table := b.table(p); len(table.Rows) > 0 {
			fmt.Fprintln(out)
			table.Text(out)
		}
	}
}

func (b *bench) table(p part) rig.Table {
	t := rig.Table{Columns: []string{p.name, "contender", p.columns[0].name, "range"}, Names: 2}
	for _, f := range p.columns[1:] {
		t.Columns = append(t.Columns, f.name)
	}
	for _, r := range b.rows {
		if r.part != p.name {
			continue
		}
		cells := []string{r.test, r.contender, r.cell(p.columns[0]), r.spread(p.columns[0])}
		for _, f := range p.columns[1:] {
			cells = append(cells, r.cell(f))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

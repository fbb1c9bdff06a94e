package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
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
	page                  string         // folder for the page and its plots; "": none is written there
	write                 bool           // into the checkout's docs
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	flags.SetOutput(help)
	small := flags.Bool("quick", false, "run everything once and small, to see that it works; the figures mean nothing")
	for _, p := range []struct {
		name, usage string
		to          **regexp.Regexp
	}{
		{"only", "only parts whose name matches this `regexp`", &o.part},
		{"test", "only tests of a part whose name matches this `regexp`", &o.test},
		{"contender", "only contenders whose name matches this `regexp`", &o.contender},
	} {
		*p.to = regexp.MustCompile("")
		flags.Func(p.name, p.usage, func(text string) (err error) {
			*p.to, err = regexp.Compile(text)
			return err
		})
	}
	jobs := flags.Uint("jobs", 0, "`n` jobs in a drain (100000)")
	trials := flags.Uint("repeat", 0, "`n` trials of everything (3)")
	kept := flags.Uint("kept", 0, "`n` finished jobs kept, in one test of flatness (1000000)")
	flags.StringVar(&o.page, "page", "", "write benchmarks.md and its plots into this `folder`")
	flags.BoolVar(&o.write, "write", false, "write them into docs of this checkout")
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
	o.jobs, o.trials, o.kept = cmp.Or(int(*jobs), o.jobs), cmp.Or(int(*trials), o.trials), cmp.Or(int(*kept), o.kept)
	return o, nil
}

// bench is one run of the benchmark.
type bench struct {
	options
	dir      string // of Sluice's programs
	server   *rig.Postgres
	progress io.Writer
	rows     []*row
	node     *nodeHome // nil: the peers that run on Node.js are left out

	failed    []error // trials
	databases int     // made so far
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
	conditions, err := b.conditions(ctx)
	if err != nil {
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
	b.print(out, conditions)
	return errors.Join(append(b.failed, b.save(ctx, conditions))...)
}

// conditions says what the figures hold for.
func (b *bench) conditions(ctx context.Context) (string, error) {
	commit, err := b.commitTime(ctx)
	if err != nil {
		return "", err
	}
	without := ""
	if b.node == nil {
		without = "; without graphile-worker and pg-boss"
	}
	return fmt.Sprintf("%s; PostgreSQL %d with fsync and synchronous_commit on, shared_buffers 1 GB, max_wal_size 8 GB, a commit alone takes %.1f ms; "+
		"%s, River %s, graphile-worker %s and pg-boss %s on Node.js %s%s; medians of %s, contenders in turns; load of the machine before: %s; %s",
		rig.Machine(), b.server.Major(), commit.Seconds()*1000, runtime.Version(), version("github.com/riverqueue/river"),
		graphileVersion, bossVersion, nodeVersion, without, count(b.trials, "trial", "trials"), rig.Load(), time.Now().UTC().Format(time.DateOnly)), nil
}

// version is that of a module in this program.
func version(module string) string {
	info, _ := debug.ReadBuildInfo() // every program that is built from modules has it
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return "of an unknown version"
}

// commitTime is how long the server takes to commit one row, while nobody else does: half of all times are shorter.
func (b *bench) commitTime(ctx context.Context) (time.Duration, error) {
	if _, err := b.server.Admin.Exec(ctx, `create table commits (n integer)`); err != nil {
		return 0, err
	}
	times := make([]time.Duration, 51)
	for i := range times {
		began := time.Now()
		if _, err := b.server.Admin.Exec(ctx, `insert into commits values ($1)`, i); err != nil {
			return 0, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times[len(times)/2], nil
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

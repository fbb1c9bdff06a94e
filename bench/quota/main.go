package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "quota:", err)
		os.Exit(1)
	}
}

// options are what a person may choose.
type options struct {
	scale     scale
	scenario  *regexp.Regexp // which of them
	contender *regexp.Regexp
	together  int
	seed      uint64
	plot      string // a file for the plot, or ""
	write     bool
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("quota", flag.ContinueOnError)
	flags.SetOutput(help)
	small := flags.Bool("quick", false, "run everything once and small, to see that it works; the figures mean nothing")
	scenario := flags.String("scenario", "", "only scenarios whose name matches this `regexp`")
	contender := flags.String("contender", "", "only contenders whose name matches this `regexp`")
	outage := flags.Duration("outage", 0, "length of the outage (20s)")
	flags.IntVar(&o.together, "together", 0, "`n` contenders at the same time (all)")
	flags.Uint64Var(&o.seed, "seed", 1, "of the jobs and the provider")
	flags.StringVar(&o.plot, "plot", "", "write the outage as an SVG to this `file`")
	flags.BoolVar(&o.write, "write", false, "write docs/benchmarks-quota.md and .svg of this checkout")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	if o.scenario, err = regexp.Compile(*scenario); err != nil {
		return o, fmt.Errorf("-scenario: %w", err)
	}
	if o.contender, err = regexp.Compile(*contender); err != nil {
		return o, fmt.Errorf("-contender: %w", err)
	}
	o.scale = full
	if *small {
		o.scale = quick
	}
	if *outage > 0 {
		o.scale.outage = *outage
	}
	return o, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "building Sluice, starting a private PostgreSQL")
	programs, remove, err := build(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	server, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()

	before := load()
	records, err := raceAll(ctx, o, programs, server, progress)
	if err != nil {
		return err
	}
	conditions := conditionsOf(o, server, before)
	fmt.Fprintf(out, "%s\n\n", conditions)
	writeText(out, rows(records))
	return write(ctx, o, conditions, records, progress)
}

// raceAll runs all chosen contenders through all chosen scenarios.
func raceAll(ctx context.Context, o options, programs programs, server *postgres, progress io.Writer) (all []record, err error) {
	chosen := slices.DeleteFunc(contenders(programs, o.scale), func(c contender) bool { return !o.contender.MatchString(c.name()) })
	list := slices.DeleteFunc(scenarios(o.scale), func(sc scenario) bool { return !o.scenario.MatchString(sc.name) })
	if len(chosen) == 0 || len(list) == 0 {
		return nil, errors.New("no contender or no scenario has such a name")
	}
	for _, group := range groups(o, list, chosen) {
		began := time.Now()
		fmt.Fprintf(progress, "%s: %d trials ...", what(group), len(group))
		records, err := race(ctx, group, server)
		if err != nil {
			fmt.Fprintln(progress)
			return nil, err
		}
		fmt.Fprintf(progress, " done in %.1f s\n", time.Since(began).Seconds())
		all = append(all, records...)
	}
	return all, nil
}

// what names the scenarios of a group.
func what(group []*trial) string {
	first, last := group[0].scenario.name, group[len(group)-1].scenario.name
	if first == last {
		return first
	}
	return first + " to " + last
}

// groups are the trials that run at the same time, group after group.
func groups(o options, scenarios []scenario, contenders []contender) (groups [][]*trial) {
	together := len(contenders)
	if o.together > 0 {
		together = o.together
	}
	for _, sc := range scenarios {
		for chunk := range slices.Chunk(contenders, together) {
			var group []*trial
			for _, c := range chunk {
				group = append(group, &trial{contender: c, scenario: sc, seed: o.seed})
			}
			groups = append(groups, group)
		}
	}
	if o.scale.atOnce {
		return [][]*trial{slices.Concat(groups...)}
	}
	return groups
}

// conditionsOf says what the figures hold for.
func conditionsOf(o options, server *postgres, load string) string {
	s := o.scale
	together := "all contenders at the same time"
	switch {
	case o.scale.atOnce:
		together = "everything at the same time: figures without meaning"
	case o.together > 0:
		together = fmt.Sprintf("%d contenders at the same time", o.together)
	}
	return fmt.Sprintf("%d CPUs, %s, PostgreSQL %d with fsync; limits of %d requests or %d tokens a window of %v, %d slots, calls of %v (outage: %v); "+
		"%v measured, the outage %v of %v; %s; seed %d; load of the machine before: %s; %s", runtime.NumCPU(), runtime.Version(), server.Major(),
		s.limit, s.limit*tokensPerCall, s.window, s.slots, s.call, s.long, s.span, s.outage, s.before+s.outage+s.after, together, o.seed,
		load, time.Now().UTC().Format(time.DateOnly))
}

// load is the machine's load average of the last minute: what else runs takes from everybody's figures.
func load() string {
	file, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	last, _, _ := strings.Cut(string(file), " ")
	return last
}

// write leaves what was asked for in files.
func write(ctx context.Context, o options, conditions string, records []record, progress io.Writer) error {
	outages := slices.DeleteFunc(slices.Clone(records), func(r record) bool { return r.up == 0 })
	var picture bytes.Buffer
	if len(outages) > 0 {
		plot(&picture, outages)
	}
	if o.plot != "" {
		if err := save(o.plot, picture.Bytes(), progress); err != nil {
			return err
		}
	}
	if !o.write {
		return nil
	}
	root, err := root(ctx)
	if err != nil {
		return err
	}
	page := filepath.Join(root, "docs", "benchmarks-quota")
	return errors.Join(save(page+".md", markdown(conditions, records), progress), save(page+".svg", picture.Bytes(), progress))
}

func save(path string, content []byte, progress io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(progress, "wrote", path)
	return nil
}

// markdown is the page with the results.
func markdown(conditions string, records []record) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Quota: how much is used, and who is hurt\n\nBy `go run ./quota -write` in `bench/`; its package comment says what each "+
		"figure means and what it does not show.\n\n%s.\n\n", conditions)
	writeMarkdown(&b, rows(records))
	b.WriteString("\n![Calls per second through an outage](benchmarks-quota.svg)\n")
	return b.Bytes()
}

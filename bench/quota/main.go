package main

import (
	"bytes"
	"cmp"
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

	"github.com/sluicedev/sluice/bench/rig"
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
	inRealTime := flags.Bool("real", false, "windows of a minute and calls of 6s, as real providers have them, measured for 10m; only sluice x4, unless -contender says otherwise")
	scenario := flags.String("scenario", "", "only scenarios whose name matches this `regexp`")
	contender := flags.String("contender", "", "only contenders whose name matches this `regexp`")
	span := flags.Duration("span", 0, "measured time of scenarios without an outage (20s; with -real 10m)")
	down := flags.Duration("outage", 0, "length of the outage, the only one then (20s; with -real a long one of 50s as well)")
	flags.IntVar(&o.together, "together", 0, "`n` contenders at the same time (all)")
	flags.Uint64Var(&o.seed, "seed", 1, "of the jobs and the provider")
	flags.StringVar(&o.plot, "plot", "", "write the outage as an SVG to this `file`")
	flags.BoolVar(&o.write, "write", false, "write docs/benchmarks-quota.md and .svg of this checkout; with -real docs/benchmarks-quota-real.*")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	if o.scale, err = scaleOf(*small, *inRealTime); err != nil {
		return o, err
	}
	o.scale = o.scale.lasting(*span, *down)
	if o.scenario, err = regexp.Compile(*scenario); err != nil {
		return o, fmt.Errorf("-scenario: %w", err)
	}
	if o.contender, err = regexp.Compile(cmp.Or(*contender, o.scale.contender)); err != nil {
		return o, fmt.Errorf("-contender: %w", err)
	}
	return o, nil
}

func scaleOf(small, inRealTime bool) (scale, error) {
	switch {
	case small && inRealTime:
		return scale{}, errors.New("-quick and -real exclude each other")
	case small:
		return quick, nil
	case inRealTime:
		return realTime, nil
	}
	return full, nil
}

// lasting changes how long it takes, where that was said.
func (s scale) lasting(span, down time.Duration) scale {
	s.span = cmp.Or(span, s.span)
	if down > 0 {
		first := s.outages.each[0]
		first.length = down
		s.outages.each = []outage{first}
	}
	return s
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
	programs, err := programs{dir: dir}.configured("config", sluiceConfig)
	if err != nil {
		return err
	}
	server, err := rig.StartPostgres(ctx, maxConnections, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	before := rig.Load()
	records, err := raceAll(ctx, o, programs, postgres{server}, progress)
	if err != nil {
		return err
	}
	conditions := conditionsOf(o, postgres{server}, before)
	fmt.Fprintf(out, "%s\n\n", conditions)
	table(records).Text(out)
	return write(ctx, o, conditions, records, progress)
}

// raceAll runs all chosen contenders through all chosen scenarios.
func raceAll(ctx context.Context, o options, programs programs, server postgres, progress io.Writer) (all []record, err error) {
	chosen := slices.DeleteFunc(contenders(programs, o.scale), func(c contender) bool { return !o.contender.MatchString(c.name()) })
	list := slices.DeleteFunc(scenarios(o.scale), func(sc scenario) bool { return !o.scenario.MatchString(sc.name) })
	groups := groups(o, list, chosen)
	if len(groups) == 0 {
		return nil, errors.New("no contender and no scenario for it have such names")
	}
	for _, group := range groups {
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
	together := max(1, len(contenders))
	if o.together > 0 {
		together = o.together
	}
	for _, round := range o.scale.rounds(scenarios) {
		for chunk := range slices.Chunk(contenders, together) {
			if group := trials(round, chunk, o.seed); len(group) > 0 {
				groups = append(groups, group)
			}
		}
	}
	return groups
}

// trials are of each contender in each scenario that suits it.
func trials(scenarios []scenario, contenders []contender, seed uint64) (list []*trial) {
	for _, sc := range scenarios {
		for _, c := range contenders {
			if sc.suits(c) {
				list = append(list, &trial{contender: c, scenario: sc, seed: seed})
			}
		}
	}
	return list
}

// conditionsOf says what the figures hold for.
func conditionsOf(o options, server postgres, load string) string {
	s := o.scale
	crowd := "all contenders of a scenario"
	if o.together > 0 {
		crowd = fmt.Sprintf("%d contenders of a scenario", o.together)
	}
	crowd += " at the same time" + s.crowding
	down := s.outages
	return fmt.Sprintf("%d CPUs, %s, PostgreSQL %d with fsync; limits of %d requests or %d tokens a window of %v, %d slots, calls of %v, %v measured; "+
		"with an outage (%s): a window of %v, %d slots, calls of %v; %s; seed %d; load of the machine before: %s; %s",
		runtime.NumCPU(), runtime.Version(), server.Major(), s.limit, s.limit*tokensPerCall, s.window, s.slots, s.call, s.span,
		down, down.window, down.slots, down.call, crowd, o.seed, load, time.Now().UTC().Format(time.DateOnly))
}

// String tells how long they are.
func (o outages) String() string {
	var parts []string
	for _, each := range o.each {
		parts = append(parts, fmt.Sprintf("%v of %v", each.length, o.before+each.length+each.after))
	}
	return strings.Join(parts, ", ")
}

// write leaves what was asked for in files.
func write(ctx context.Context, o options, conditions string, records []record, progress io.Writer) error {
	picture := plot(slices.DeleteFunc(slices.Clone(records), func(r record) bool { return r.up == 0 }))
	if o.plot != "" {
		if err := rig.Save(o.plot, picture, progress); err != nil {
			return err
		}
	}
	if !o.write {
		return nil
	}
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	page := filepath.Join(root, "docs", o.scale.page)
	return errors.Join(rig.Save(page+".md", o.scale.markdown(conditions, records), progress), rig.Save(page+".svg", picture, progress))
}

// markdown is the page with the results.
func (s scale) markdown(conditions string, records []record) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\nBy `%s` in `bench/`; its package comment says what each figure means and what it does not show.\n\n%s.\n\n",
		s.title, s.command, conditions)
	table(records).Markdown(&b)
	fmt.Fprintf(&b, "\n![Calls per second through an outage](%s.svg)\n", s.page)
	return b.Bytes()
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// options are what a person may choose.
type options struct {
	seed   uint64
	length time.Duration // of all rounds; 0 is one round
	faults *regexp.Regexp
	rate   float64
	pooled bool
	quick  bool
}

const (
	fullRate  = 40 // jobs a second
	quickRate = 20
	warmUp    = 5 * time.Second

	fullWindow  = 5 * time.Second
	quickWindow = 3 * time.Second
)

// window is over how long completions are counted.
func (o options) window() time.Duration {
	if o.quick {
		return quickWindow
	}
	return fullWindow
}

func parse(args []string, help io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(help)
	flags.Uint64Var(&o.seed, "seed", 0, "of the plan and the load (a random one)")
	flags.DurationVar(&o.length, "for", 0, "go on with rounds of all faults for this long, and at least for one (one)")
	names := flags.String("faults", "", "only faults whose name matches this `regexp`")
	flags.Float64Var(&o.rate, "rate", 0, "`jobs` enqueued a second (40; -quick 20)")
	flags.BoolVar(&o.pooled, "pgbouncer", false, "everything goes through PgBouncer in transaction mode")
	flags.BoolVar(&o.quick, "quick", false, "six faults, briefly")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q: all settings are flags, see -help", flags.Arg(0))
	}
	if o.faults, err = regexp.Compile(*names); err != nil {
		return o, fmt.Errorf("-faults: %w", err)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1 // short enough to type
	}
	if o.rate == 0 {
		o.rate = fullRate
		if o.quick {
			o.rate = quickRate
		}
	}
	return o, nil
}

// chosen are the faults to go through.
func (o options) chosen() []fault {
	return slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
		return !o.faults.MatchString(f.name) || o.quick && !f.quick
	})
}

// prepare does what the chosen faults need done before there is any load.
func (o options) prepare(r *rig) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, f := range o.chosen() {
			if f.prepare == nil {
				continue
			}
			if err := f.prepare(r, ctx); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
		return nil
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	if len(o.chosen()) == 0 {
		return errors.New("no fault has such a name")
	}
	fmt.Fprintf(out, "seed %d\n", o.seed)
	r, err := newRig(ctx, o)
	if reason, ok := skipped(err); ok {
		fmt.Fprintln(out, "skipped:", reason)
		return r.close(false)
	}
	var outcomes []outcome
	var found []violation
	if err == nil {
		outcomes, found, err = r.rounds(ctx, o, out)
	}
	return r.conclude(ctx, o, outcomes, found, err, out)
}

// rounds goes through the faults until the time is over, drains, and gives all violations. The first ends it.
func (r *rig) rounds(ctx context.Context, o options, out io.Writer) (outcomes []outcome, found []violation, err error) {
	began := time.Now()
	sleep(ctx, warmUp)
	for round := 0; round == 0 || time.Since(began) < o.length; round++ {
		list := o.chosen()
		r.random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, f := range list {
			if round > 0 && time.Since(began) >= o.length {
				break
			}
			result, err := r.try(ctx, f, began)
			err = errors.Join(err, r.fleet.unasked())
			if err != nil {
				return outcomes, append(found, result.found...), err
			}
			fmt.Fprintln(out, result)
			outcomes, found = append(outcomes, result), append(found, result.found...)
			if len(found) > 0 {
				return outcomes, found, nil
			}
		}
	}
	found, err = r.drain(ctx)
	return outcomes, found, err
}

// conclude prints what came of it, and ends everything.
func (r *rig) conclude(ctx context.Context, o options, outcomes []outcome, found []violation, err error, out io.Writer) error {
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), r.close(false))
	}
	if err == nil {
		err = r.summary(ctx, outcomes, out)
	}
	for _, v := range found {
		fmt.Fprintln(out, v)
	}
	bad := err != nil || len(found) > 0
	if bad && r.postgres != nil && r.simulator != nil {
		err = errors.Join(err, r.dump(ctx, found))
	}
	err = errors.Join(err, r.close(bad))
	if !bad {
		return err
	}
	return errors.Join(fmt.Errorf("seed %d: %d invariants do not hold; logs and rows are in %s", o.seed, len(found), r.dir), err)
}

// String is the line of a fault.
func (o outcome) String() string {
	if o.skipped != "" {
		return fmt.Sprintf("%6.1fs  %-20s skipped: %s", o.at.Seconds(), o.fault, o.skipped)
	}
	verdict := "invariants ok"
	if len(o.found) > 0 {
		verdict = fmt.Sprintf("%d INVARIANTS DO NOT HOLD", len(o.found))
	}
	return fmt.Sprintf("%6.1fs  %-20s for %4.1fs, back %s; %s  %s", o.at.Seconds(), o.fault, o.held.Seconds(), o.backText(), verdict, o.note)
}

func (o outcome) backText() string {
	if o.back < 0 {
		return "never"
	}
	return fmt.Sprintf("after %.1fs", o.back.Seconds())
}

const countsSQL = `
select state || ' ' || count(*) from jobs group by state order by state`

const outcomesSQL = `
select coalesce(outcome, 'open') || ' ' || count(*) from attempts group by outcome order by outcome`

// summary is the table at the end.
func (r *rig) summary(ctx context.Context, outcomes []outcome, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nfault\tat s\theld s\tbefore /s\tback\tinvariants\twhat")
	for _, o := range outcomes {
		verdict := "ok"
		if len(o.found) > 0 {
			verdict = fmt.Sprintf("%d violated", len(o.found))
		}
		if o.skipped != "" {
			fmt.Fprintf(w, "%s\t%.0f\t\t\t\tskipped\t%s\n", o.fault, o.at.Seconds(), o.skipped)
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.1f\t%s\t%s\t%s\n", o.fault, o.at.Seconds(), o.held.Seconds(), o.baseline, o.backText(), verdict, o.note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	jobs, err := texts(ctx, r.postgres.admin, countsSQL)
	if err != nil {
		return err
	}
	attempts, err := texts(ctx, r.postgres.admin, outcomesSQL)
	if err != nil {
		return err
	}
	l := r.ledger.copy()
	cancels, retries := l.obeyed()
	_, err = fmt.Fprintf(out, "\njobs: %v; attempts: %v; %d calls\n%d requests, %d accepted jobs, %d unclear answers, %d not sent, %d keys, %d cancels, %d retries by hand\n",
		jobs, attempts, r.simulator.Count(), l.asked, len(l.accepted), l.unclear, l.skipped, len(l.keys), cancels, retries)
	return err
}

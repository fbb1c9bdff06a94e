package main

import (
	"io"
	"testing"
	"time"
)

func TestRealTimeIsOneCrowdAndThenTheOutages(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-real", "-span", "90s"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	list := scenarios(o.scale)
	all := groups(o, list, []contender{sluice{processes: 4}})
	if len(all) != 3 || len(all[0]) != len(list)-2 {
		t.Fatalf("%d groups, the first of %d trials; want all without an outage, and two more", len(all), len(all[0]))
	}
	for _, trial := range all[0] {
		if sc := trial.scenario; sc.up > 0 || sc.window != time.Minute || sc.span != 90*time.Second || sc.script.WindowMS != 60_000 {
			t.Errorf("%s: a window of %v, measured for %v, out again at %v", sc.name, sc.window, sc.span, sc.up)
		}
	}
	for i, length := range []time.Duration{20 * time.Second, 50 * time.Second} {
		if sc := all[i+1][0].scenario; len(all[i+1]) != 1 || sc.up-sc.down != length || sc.window != full.window || sc.span <= sc.up {
			t.Errorf("%s: down for %v of %v, want %v", sc.name, sc.up-sc.down, sc.span, length)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args      []string
		contender string
		runs      bool
	}{
		{nil, "river x16", true},
		{[]string{"-real"}, "sluice x4", true},
		{[]string{"-real"}, "sluice x16", false},
		{[]string{"-real"}, "river x16", false},
		{[]string{"-real", "-contender", "river"}, "river x16", true},
	} {
		o, err := parse(c.args, io.Discard)
		if err != nil || o.contender.MatchString(c.contender) != c.runs {
			t.Errorf("%q: %s runs: %v, want %v (%v)", c.args, c.contender, !c.runs, c.runs, err)
		}
	}
	for _, args := range [][]string{{"-quick", "-real"}, {"-scenario", "("}, {"requests"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

package main

import (
	"slices"
	"testing"
)

func TestBarsAreJudged(t *testing.T) {
	t.Parallel()
	rows := []*row{
		{part: "drain", test: "a", contender: "sluice", trials: []figures{{jobRate: 100, walBytes: 65}}},
		{part: "drain", test: "b", contender: "sluice", trials: []figures{{jobRate: 300}}},
		{part: "drain", test: "a", contender: "river", trials: []figures{{jobRate: 50, walBytes: 100}}},
		{part: "drain", test: "b", contender: "river", trials: []figures{{jobRate: 200}}},
	}
	of := func(contender string, f figure, tests ...string) quantity {
		return quantity{"drain", tests, contender, f}
	}
	for _, c := range []struct {
		bar  bar
		want []string // from "beside" on; nil: no row
	}{
		{bar{of("sluice", jobRate, "a"), of("river", jobRate, "a"), 2, 0}, []string{"river", "100", "50", "2.00", ">= 2.00", "yes"}},
		{bar{of("sluice", jobRate, "b"), of("river", jobRate, "b"), 2, 0}, []string{"river", "300", "200", "1.50", ">= 2.00", "no"}},
		{bar{of("sluice", jobRate, "a", "b"), of("river", jobRate, "a", "b"), 1.5, 0}, []string{"river", "300", "200", "1.50", ">= 1.50", "yes"}},
		{bar{of("sluice", jobRate, "b"), of("sluice", jobRate, "a"), 0.85, 0}, []string{"sluice, a", "300", "100", "3.00", ">= 0.85", "yes"}},
		{bar{of("sluice", walBytes, "a"), of("river", walBytes, "a"), 0, 0.65}, []string{"river", "65", "100", "0.65", "<= 0.65", "yes"}},
		{bar{of: of("sluice", walBytes, "a"), most: 64}, []string{"-", "65", "-", "-", "<= 64", "no"}},
		{bar{of: of("sluice", walBytes, "b"), most: 64}, nil},
		{bar{of("sluice", jobRate, "a"), of("pg-boss", jobRate, "a"), 1, 0}, nil},
	} {
		if got := c.bar.cells(rows); c.want == nil && got != nil || c.want != nil && !slices.Equal(got[2:], c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

// A bar that names a test, a figure or a contender that nobody measures would never be seen.
func TestBarsOfBothScalesAreOfParts(t *testing.T) {
	t.Parallel()
	for _, s := range []scale{full, quick} {
		for _, b := range s.bars() {
			i := slices.IndexFunc(parts, func(p part) bool { return p.name == b.of.part })
			if i < 0 || !slices.Contains(parts[i].columns, b.of.figure) {
				t.Errorf("nothing measures %s of %q", b.of.figure.name, b.of.part)
			}
		}
	}
}

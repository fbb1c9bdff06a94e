package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The test binary is also the program of each process that a test starts.
func TestMain(m *testing.M) {
	if played, err := play(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The whole benchmark, small: every contender still runs in every part, and its figures can be figures.
func TestQuick(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: it builds Sluice and runs fleets of it and of its peers")
	}
	var out, progress strings.Builder
	folder := t.TempDir()
	if err := run(t.Context(), []string{"-quick", "-page", folder}, &out, io.MultiWriter(&progress, t.Output())); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + out.String())
	page, err := os.ReadFile(filepath.Join(folder, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	withNode := !strings.Contains(progress.String(), "left out")
	rows := cells(string(page))
	for _, want := range expected(withNode) {
		row := rows[want.test+"|"+want.contender]
		if row == nil {
			t.Errorf("no row of %s in %q", want.contender, want.test)
		} else if v, err := strconv.ParseFloat(strings.ReplaceAll(row[2], ",", ""), 64); err != nil || v < 0 && !mayBeEarly(want.test) {
			t.Errorf("%s in %q: %q", want.contender, want.test, row[2])
		}
	}
	bars := quick.bars()
	if !withNode {
		bars = slices.DeleteFunc(bars, func(b bar) bool { return b.beside.contender == "graphile-worker" })
	}
	if n := strings.Count(string(page), "| yes |\n") + strings.Count(string(page), "| no |\n"); n != len(bars) {
		t.Errorf("%d bars on the page, want %d", n, len(bars))
	}
	for _, p := range parts {
		if p.plot != noPlot {
			wellFormed(t, filepath.Join(folder, plotName(p)))
		}
	}
}

// mayBeEarly tells whether the test's figure is a time since an answer was read: work may begin before that.
func mayBeEarly(test string) bool {
	return slices.ContainsFunc(quick.rates, func(n int) bool { return rateTest(n) == test })
}

type where struct{ test, contender string }

// expected are all rows that there have to be, but for those of tests that come with others.
func expected(withNode bool) (all []where) {
	drains := []string{"sluice", "sluice paced", "river", "river defaults"}
	if withNode {
		drains = append(drains, "graphile-worker", "pg-boss")
	}
	add := func(test string, contenders ...string) {
		for _, c := range contenders {
			all = append(all, where{test, c})
		}
	}
	for _, n := range quick.processes {
		add(processesTest(n), drains...)
	}
	for _, n := range quick.clients {
		add(singleTest(n), "sluice", yardstickName)
	}
	for _, n := range quick.senders {
		add(batchTest(quick.batch, n), "sluice", yardstickName, "river")
	}
	for _, n := range quick.rates {
		add(rateTest(n), "sluice", "river", "river defaults")
	}
	add(asItIs, "sluice", "river")
	add(quick.finishedTest(), "sluice", "river")
	add(quick.delayedTest(), "sluice")
	add(quick.parkedTest(), "sluice")
	add(heldTest, "sluice", "river")
	add(count(quick.calls, "call", "calls"), "sluice")
	add(count(quick.fleet, "worker", "workers"), "sluice", "river defaults")
	return all
}

// cells are the rows of a page's tables, by their first two.
func cells(page string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(page) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		if len(row) > 2 {
			all[row[0]+"|"+row[1]] = row
		}
	}
	return all
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer file.Close()
	for d := xml.NewDecoder(file); ; {
		switch _, err := d.Token(); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.Fatalf("%s is no XML: %v", path, err)
		}
	}
}

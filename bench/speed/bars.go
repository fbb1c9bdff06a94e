package main

import (
	"fmt"
	"slices"

	"github.com/sluicedev/sluice/bench/rig"
)

// quantity is a figure of a contender in a test: in several, the highest of them.
type quantity struct {
	part      string
	tests     []string
	contender string
	figure    figure
}

// bar is what is promised of a figure of Sluice: of itself, or beside another one.
type bar struct {
	of     quantity
	beside quantity // zero: of itself
	least  float64  // of the ratio, or of the figure; 0: there is none
	most   float64  // likewise
}

// Names that the bars and the tests of a part share.
func processesTest(n int) string { return count(n, "process", "processes") }
func singleTest(n int) string    { return "one a request, " + count(n, "client", "clients") }
func batchTest(size, n int) string {
	return thousands(float64(size)) + " a request, " + count(n, "client", "clients")
}
func rateTest(n int) string { return thousands(float64(n)) + " jobs/s" }

// bars are all that is promised of what this scale measures.
func (s scale) bars() (all []bar) {
	river, graphile := riverFastest.name(), "graphile-worker"
	of := func(part, test, contender string, f figure) quantity {
		return quantity{part, []string{test}, contender, f}
	}
	beside := func(part, test, peer string, f figure, least, most float64) {
		all = append(all, bar{of(part, test, sluicePlain.name(), f), of(part, test, peer, f), least, most})
	}
	alone := func(part, test string, f figure, most float64) {
		all = append(all, bar{of: of(part, test, sluicePlain.name(), f), most: most})
	}

	var drains []string
	for _, n := range s.processes {
		drains = append(drains, processesTest(n))
		beside("drain", processesTest(n), river, jobRate, 2, 0)
	}
	best := func(contender string) quantity { return quantity{"drain", drains, contender, jobRate} }
	all = append(all, bar{best(sluicePlain.name()), best(graphile), 0.9, 0})
	for _, test := range drains {
		beside("drain", test, river, walBytes, 0, 0.65)
	}
	for _, n := range s.clients {
		if n == 1 {
			beside("enqueue", singleTest(n), yardstickName, enqueueRate, 1, 0)
			continue
		}
		beside("enqueue", singleTest(n), yardstickName, enqueueRate, 2.5, 0)
		beside("enqueue", singleTest(n), yardstickName, answerP99, 0, 1)
	}
	for _, n := range s.senders {
		beside("enqueue", batchTest(s.batch, n), river, enqueueRate, 1.5, 0)
	}
	calm := rateTest(slices.Min(s.rates))
	alone("enqueue to start", calm, startP50, 5)
	alone("enqueue to start", calm, startP99, 25)
	beside("enqueue to start", calm, river, startP50, 0, 1)
	beside("enqueue to start", calm, river, startP99, 0, 1)

	free := func(contender string) quantity { return of("flatness", asItIs, contender, jobRate) }
	for _, test := range []string{s.finishedTest(), s.delayedTest(), s.parkedTest()} {
		all = append(all, bar{of("flatness", test, sluicePlain.name(), jobRate), free(sluicePlain.name()), 0.85, 0})
	}
	all = append(all, bar{of("flatness", heldTest, sluicePlain.name(), jobRate), free(river), 2 * 0.85, 0})

	alone("in flight", count(s.calls, "call", "calls"), rssPerCall, 40)
	alone("in flight", count(s.calls, "call", "calls"), connections, 20)
	alone("idle", count(s.fleet, "worker", "workers"), queryRate, 1)
	return all
}

// value is the quantity's; false where it was not measured.
func (q quantity) value(rows []*row) (highest float64, known bool) {
	for _, r := range rows {
		if r.part != q.part || r.contender != q.contender || !slices.Contains(q.tests, r.test) {
			continue
		}
		if median, ok := r.median(q.figure); ok && (!known || median > highest) {
			highest, known = median, true
		}
	}
	return highest, known
}

// name says which quantity of its part it is.
func (q quantity) name() string {
	if len(q.tests) == 1 {
		return q.tests[0] + ": " + q.figure.name
	}
	return "the best of all: " + q.figure.name
}

// against says whose other figure it is compared with.
func (b bar) against() string {
	q := b.beside
	if b.of.part == q.part && slices.Equal(b.of.tests, q.tests) {
		return q.contender
	}
	return q.contender + ", " + q.tests[0]
}

// promise is the bar in words.
func (b bar) promise() string {
	digits := 2
	if b.beside.part == "" {
		digits = 0
	}
	if b.least > 0 {
		return fmt.Sprintf(">= %.*f", digits, b.least)
	}
	return fmt.Sprintf("<= %.*f", digits, b.most)
}

// kept tells whether a figure, or a ratio, is on the right side.
func (b bar) kept(v float64) bool {
	return (b.least == 0 || v >= b.least) && (b.most == 0 || v <= b.most)
}

// barTable is of the bars whose figures were measured.
func barTable(bars []bar, rows []*row) rig.Table {
	t := rig.Table{Columns: []string{"part", "what", "beside", "Sluice", "the other", "ratio", "bar", "kept"}, Names: 3}
	for _, b := range bars {
		if cells := b.cells(rows); cells != nil {
			t.Rows = append(t.Rows, cells)
		}
	}
	return t
}

func (b bar) cells(rows []*row) []string {
	ours, known := b.of.value(rows)
	if !known {
		return nil
	}
	peer, other, ratio, judged := "-", "-", "-", ours
	if b.beside.part != "" {
		theirs, known := b.beside.value(rows)
		if !known {
			return nil
		}
		judged = ours / theirs
		peer, other, ratio = b.against(), b.beside.figure.format(theirs), fmt.Sprintf("%.2f", judged)
	}
	verdict := "no"
	if b.kept(judged) {
		verdict = "yes"
	}
	return []string{b.of.part, b.of.name(), peer, b.of.figure.format(ours), other, ratio, b.promise(), verdict}
}

package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// steady is a scenario of 10 requests a second whose bucket holds 100, and 10,000 tokens a second where those are bound.
func steady(bound dimension) scenario {
	return scale{limit: 100, window: 10 * time.Second, slots: 8, span: 10 * time.Second}.scenario("steady", bound)
}

// ok are n admitted calls, one every gap from a time on.
func ok(id string, n int, from, gap time.Duration) (calls []llmtest.Call) {
	for i := range n {
		calls = append(calls, llmtest.Call{ID: fmt.Sprint(id, i), At: from + time.Duration(i)*gap, Status: 200, Tokens: 500})
	}
	return calls
}

// refused are n calls answered with a status.
func refused(id string, status, n int, from, gap time.Duration) []llmtest.Call {
	calls := ok(id, n, from, gap)
	for i := range calls {
		calls[i].Status, calls[i].Tokens = status, 0
	}
	return calls
}

// logged puts calls into the order of their arrival.
func logged(parts ...[]llmtest.Call) []llmtest.Call {
	all := slices.Concat(parts...)
	slices.SortStableFunc(all, func(a, b llmtest.Call) int { return int(a.At - b.At) })
	return all
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9 {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func TestUsableIsTheBucketAndItsRefillWithoutTheNeighbours(t *testing.T) {
	t.Parallel()
	calls := logged(
		ok("job", 150, time.Second, 10*time.Millisecond), refused("job", 429, 50, 3*time.Second, time.Millisecond),
		ok(neighbourID, 20, 4*time.Second, 0), refused(neighbourID, 429, 5, 5*time.Second, 0),
	)
	for _, c := range []struct {
		bound        dimension
		left         int64
		usable, used float64
	}{
		{requests, 9, 100 + 10*10 - 20, 150},
		{tokens, 9_000, 100_000 + 10*10_000 - 20*500, 150 * 500},
	} {
		f := measure(record{scenario: steady(c.bound), calls: calls, from: time.Second, to: 11 * time.Second, left: c.left})
		near(t, string(c.bound)+" used", f.used.percent(), 100*c.used/c.usable)
		near(t, string(c.bound)+" left", f.left.percent(), 100*float64(c.left)/c.usable)
		near(t, string(c.bound)+" used, left and lost", f.used.percent()+f.left.percent()+f.lost.percent(), 100)
		near(t, "own 429s", f.own429.percent(), 25)
		near(t, "the neighbour's 429s", f.other429.percent(), 20)
		if f.calls != 200 || f.admitted != 150 {
			t.Errorf("%d calls, %d admitted, want 200 and 150", f.calls, f.admitted)
		}
	}
}

func TestSteadyLeavesOutTheStartAndTheStock(t *testing.T) {
	t.Parallel()
	calls := logged(
		ok("early", 90, 0, time.Millisecond), ok(neighbourID+"early", 5, time.Second, 0),
		ok("job", 40, 3*time.Second, 100*time.Millisecond), ok(neighbourID, 10, 4*time.Second, 0), refused("job", 429, 5, 5*time.Second, 0),
	)
	for _, c := range []struct {
		bound       dimension
		stock, left int64
		of          float64
	}{
		{requests, 25, 45, 8*10 + 25 - 45 - 10},
		{tokens, 25_000, 45_000, (8*10_000 + 25_000 - 45_000 - 10*500) / 500},
	} {
		f := measure(record{scenario: steady(c.bound), calls: calls, to: 10 * time.Second, settled: 2 * time.Second, stock: c.stock, left: c.left})
		near(t, string(c.bound)+" used, steady", f.steady.percent(), 100*40/c.of)
	}
	idle := record{scenario: steady(requests), calls: calls[:90], to: 10 * time.Second, settled: 2 * time.Second, left: 81}
	if f := measure(idle); !f.steady.none() {
		t.Errorf("nothing left the bucket, and %v %% of that was used", f.steady.percent())
	}
}

func TestTheNeighbourTakesItsShareInTurns(t *testing.T) {
	t.Parallel()
	sc := scenario{bound: requests, limit: 600, window: time.Minute, span: 10 * time.Hour}
	if !slices.Equal(working(sc, 1), working(sc, 1)) || slices.Equal(working(sc, 1), working(sc, 2)) {
		t.Error("its calls do not follow the seed")
	}
	for name, neighbour := range map[string]func(scenario, uint64) []time.Duration{"working": working, "bursting": bursting} {
		at := neighbour(sc, 1)
		if share := float64(len(at)) / sc.refill(sc.span); math.Abs(share-neighbourShare) > 0.02 {
			t.Errorf("%s: takes %.3f of the limit", name, share)
		}
		if !slices.IsSorted(at) || at[0] < 0 || at[len(at)-1] >= sc.span {
			t.Errorf("%s: its calls are not in order, or not in the span", name)
		}
	}
	rests := 0 // at 8 calls a second, a pause of 2 s is no chance
	at := working(sc, 1)
	for i := range at[1:] {
		if at[i+1]-at[i] > 2*time.Second {
			rests++
		}
	}
	if turns := int(sc.span / (10 * time.Second)); rests < turns*8/10 || rests > turns*12/10 {
		t.Errorf("it rests %d times, want about %d", rests, turns)
	}
}

func TestACallBeforeTheHandOverBeginsTheMeasuring(t *testing.T) {
	t.Parallel()
	r := record{scenario: steady(requests), calls: ok("job", 1, time.Second, 0), from: 3 * time.Second, to: 11 * time.Second}
	near(t, "used", measure(r).used.percent(), 100.0/200)
}

func TestNoCallsAreNoDivisionByZero(t *testing.T) {
	t.Parallel()
	f := measure(record{scenario: steady(requests), to: time.Second})
	near(t, "used", f.used.percent(), 0)
	if got := percent(f.own429, 2); got != "-" {
		t.Errorf("429s of no calls are told as %q", got)
	}
}

// A breaker of the whole fleet is known from one second after it opened.
func TestOpening(t *testing.T) {
	t.Parallel()
	r := record{scenario: steady(requests), down: 10 * time.Second, up: 30 * time.Second, to: 50 * time.Second, opened: 13 * time.Second,
		calls: refused("job", 503, 200, 11*time.Second, 100*time.Millisecond)} // 30 of them before 14 s, 160 from then on
	f := measure(r)
	if cells := r.outageCells(f); cells[1] != "2.0" || f.inOutage != 160 {
		t.Errorf("opened after %s s, %d calls in the outage", cells[1], f.inOutage)
	}
	r.opened = 0
	if cells := r.outageCells(measure(r)); cells[1] != "-" {
		t.Errorf("opened after %s s, and there was no breaker", cells[1])
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	down, up, to := 10*time.Second, 30*time.Second, 50*time.Second
	trip := refused("job", 503, 20, 11*time.Second, 10*time.Millisecond) // known from 12 s on
	probe := refused("job", 503, 1, 25*time.Second, 0)
	for _, c := range []struct {
		name     string
		calls    []llmtest.Call
		inOutage int
		closed   string
		back     string // from closed on
	}{
		{"back after a pause", logged(trip, probe, ok("job", 100, 33*time.Second, 100*time.Millisecond)), 1, "3.0", "0.0"},
		{"one in ten missing is still 90 %", logged(trip, ok("job", 100, 31*time.Second, 111*time.Millisecond)), 0, "1.0", "0.0"},
		{"a probe long before the burst", logged(trip, ok("job", 1, 31*time.Second, 0), ok("job", 100, 33*time.Second, 10*time.Millisecond)), 0, "1.0", "2.0"},
		{"a probe that is refused closes nothing", logged(trip, refused("job", 429, 1, 31*time.Second, 0), ok("job", 100, 33*time.Second, 10*time.Millisecond)), 0, "3.0", "0.0"},
		{"half the pace", logged(trip, ok("job", 100, 31*time.Second, 200*time.Millisecond)), 0, "1.0", ">14.0"},
		{"never again", trip, 0, ">20.0", "-"},
		{"too late to tell", logged(trip, ok("job", 100, 46*time.Second, 10*time.Millisecond)), 0, "16.0", ">0.0"},
		// 200 from 12 s on, one each 100 ms: 180 of them before 30 s.
		{"hammering", logged(trip, refused("job", 503, 200, 12*time.Second, 100*time.Millisecond)), 180, ">20.0", "-"},
		{"a neighbour's calls are not ours", logged(trip, ok(neighbourID, 200, 31*time.Second, 50*time.Millisecond)), 0, ">20.0", "-"},
		{"not one call in it", ok("job", 100, 30*time.Second, 100*time.Millisecond), 0, "0.0", "0.0"},
	} {
		r := record{scenario: steady(requests), calls: c.calls, to: to, down: down, up: up}
		f := measure(r)
		if cells := r.outageCells(f); f.inOutage != c.inOutage || cells[3] != c.closed || cells[4] != c.back {
			t.Errorf("%s: %d calls in the outage, closed %s, back %s; want %d, %s and %s", c.name, f.inOutage, cells[3], cells[4], c.inOutage, c.closed, c.back)
		}
		if !f.used.none() {
			t.Errorf("%s: a share of the quota is told, and none was usable in the outage", c.name)
		}
	}
}

func TestJobsAreTheSameForTheSameSeedAndMoreThanCanBeDone(t *testing.T) {
	t.Parallel()
	for _, sc := range slices.Concat(scenarios(full), scenarios(realTime)) {
		jobs := sc.jobs(1)
		if !slices.Equal(jobs, sc.jobs(1)) || slices.Equal(jobs, sc.jobs(2)) {
			t.Errorf("%s: jobs do not follow the seed", sc.name)
		}
		var sum float64
		for _, j := range jobs {
			sum += float64(j.tokens)
		}
		if mean := sum / float64(len(jobs)); mean < 0.9*tokensPerCall || mean > 1.1*tokensPerCall {
			t.Errorf("%s: jobs have %.0f tokens on average", sc.name, mean)
		}
		most := sc.refill(sc.window + sc.span)
		if sc.bound == requests && float64(len(jobs)) < most || sc.bound == tokens && sum < most {
			t.Errorf("%s: %d jobs with %.0f tokens, and %.0f %s can be used", sc.name, len(jobs), sum, most, sc.bound)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	t.Parallel()
	records := []record{
		{contender: "a", scenario: steady(requests), calls: ok("job", 100, 0, 0), to: time.Second, failed: 12345678},
		{contender: "a long name", scenario: steady(tokens), quotaTx: 1.5, quotaTxKnown: true, to: time.Second,
			books: &books{updates: 8, hot: 7, opened: new(time.Now()), charged: 3}},
	}
	var b strings.Builder
	table(records).Text(&b)
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	heading := lines[0]
	for _, c := range []struct{ column, cell string }{{"failed", "12345678"}, {"quota tx", "1.50"}, {"HOT %", "87.5"}, {"charged", "3"}, {"charged", "-"}} {
		end := strings.Index(heading, c.column) + len(c.column)
		if !slices.ContainsFunc(lines[1:], func(line string) bool { return len(line) >= end && strings.HasSuffix(line[:end], " "+c.cell) }) {
			t.Errorf("no %s ends below %q in\n%s", c.cell, c.column, b.String())
		}
	}
}

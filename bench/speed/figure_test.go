package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestFiguresAreWrittenWithCommas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		digits int
		value  float64
		want   string
	}{{0, 0, "0"}, {0, 999.4, "999"}, {0, 1000, "1,000"}, {0, 1234567, "1,234,567"}, {2, 1234.567, "1,234.57"}, {1, -1234.5, "-1,234.5"}, {3, 0.0004, "0.000"}} {
		if got := (figure{"", c.digits}).format(c.value); got != c.want {
			t.Errorf("%v with %d digits: %q, want %q", c.value, c.digits, got, c.want)
		}
	}
}

func TestMedianAndSpread(t *testing.T) {
	t.Parallel()
	r := row{trials: []figures{{jobRate: 30}, {jobRate: 10}, {jobRate: 20}, {jobRate: 25}}}
	if got, ok := r.median(jobRate); !ok || got != 22.5 {
		t.Errorf("the median is %v, %v", got, ok)
	}
	if got := r.spread(jobRate); got != "10 to 30" {
		t.Errorf("the spread is %q", got)
	}
	if _, ok := r.median(walBytes); ok || r.cell(walBytes) != "-" || r.spread(walBytes) != "-" {
		t.Error("a figure that was not measured has a median")
	}
}

func TestRequestsMakeARate(t *testing.T) {
	t.Parallel()
	at := func(from, until time.Duration) sent {
		return sent{From: time.Time{}.Add(from), Until: time.Time{}.Add(until)}
	}
	got := enqueued([]sent{at(0, 10*time.Millisecond), at(10*time.Millisecond, 40*time.Millisecond), at(0, 500*time.Millisecond)}, 10)
	if got[enqueueRate] != 60 || got[answerP50] != 30 || got[answerP99] != 500 {
		t.Error(got)
	}
}

func TestDrainIsToldPerJob(t *testing.T) {
	t.Parallel()
	d := drained{jobs: 100, took: 2 * time.Second, commits: 7,
		spent: reading{postgres: time.Millisecond, workers: 2 * time.Millisecond, wal: 1000}}
	got := d.figures()
	want := figures{jobRate: 50, postgresCPU: 10, workerCPU: 20, walBytes: 10, commitCount: 0.07}
	for f, v := range want {
		if got[f] != v {
			t.Errorf("%s is %v, want %v", f.name, got[f], v)
		}
	}
}

func TestPayloadHasItsSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{300, 8 << 10} {
		one, other := payload(1, size), payload(123456, size)
		if len(one) != size || len(other) != size || one[10:] == other[10:] || !strings.HasPrefix(one, `{"n":1,"input":"`) {
			t.Errorf("%d and %d bytes, want %d:\n%s", len(one), len(other), size, one)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-only", "^drain$", "-contender", "river", "-jobs", "5", "-kept", "7"}, io.Discard)
	if err != nil || o.part.MatchString("drains") || !o.test.MatchString("anything") || !o.contender.MatchString("river defaults") ||
		o.jobs != 5 || o.kept != 7 || o.trials != full.trials {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = parse([]string{"-quick", "-repeat", "2"}, io.Discard); err != nil || o.jobs != quick.jobs || o.trials != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"-only", "("}, {"-jobs", "-1"}, {"drain"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

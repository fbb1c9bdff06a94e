package main

import (
	"context"
	"math"
	"testing"
	"time"
)

func TestRateIsThatOfTheWholeWindow(t *testing.T) {
	t.Parallel()
	began := time.Now()
	m := &meter{window: 2 * time.Second}
	for i, done := range []int64{0, 10, 20, 20, 20, 40} { // a sample a second
		m.samples = append(m.samples, sample{began.Add(time.Duration(i) * time.Second), done})
	}
	for after, want := range map[time.Duration]float64{0: 10, time.Second: 5, 2 * time.Second: 0, 3 * time.Second: 10} {
		if got, ok := m.rate(began.Add(after)); !ok || got != want {
			t.Errorf("from %v: %v, %v; want %v", after, got, ok, want)
		}
	}
	if got, ok := m.rate(began.Add(3500 * time.Millisecond)); ok {
		t.Errorf("a window that is not over: %v", got)
	}
	m.samples = append(m.samples, sample{began.Add(time.Minute), 100})
	if got, ok := m.rate(began.Add(4500 * time.Millisecond)); ok {
		t.Errorf("a window that was not seen: %v", got)
	}
}

// A machine that stands still leaves a gap, in which nothing is measured; what comes after it is.
func TestMeasuringGoesOnAfterAGap(t *testing.T) {
	t.Parallel()
	r := &rig{meter: &meter{window: 10 * time.Millisecond}}
	began := time.Now()
	r.meter.samples = []sample{{began.Add(5 * time.Millisecond), 0}}
	for at := 100 * time.Millisecond; at < time.Minute; at += 10 * time.Millisecond {
		r.meter.samples = append(r.meter.samples, sample{began.Add(at), int64(at / time.Millisecond)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if rate, err := r.measure(ctx); err != nil || math.Round(rate) != 1000 {
		t.Errorf("%v jobs a second, %v; want 1000", rate, err)
	}
}

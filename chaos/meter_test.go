package main

import (
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

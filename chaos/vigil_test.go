package main

import (
	"testing"
	"time"
)

func TestAVigilCountsWhatTheMachineMissed(t *testing.T) {
	t.Parallel()
	began := time.Now()
	v := &vigil{}
	v.note(began.Add(1*time.Second), 100*time.Millisecond) // no more than busy
	v.note(began.Add(5*time.Second), 3*time.Second)
	v.note(began.Add(9*time.Second), 2*time.Second)
	for since, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 5 * time.Second: 2 * time.Second, 9 * time.Second: 0} {
		if got := v.missed(began.Add(since)); got != want {
			t.Errorf("%v missed since %v; want %v", got, since, want)
		}
	}
}

package main

import (
	"context"
	"sync"
	"time"
)

const (
	vigilEvery = 100 * time.Millisecond
	vigilNap   = 500 * time.Millisecond // that a busy machine may take longer
)

// vigil notes when the rig itself stood still, and with it most likely everything: a machine may halt for seconds. Who had no
// time to do anything is not late.
type vigil struct {
	mu   sync.Mutex
	naps []nap
}

type nap struct {
	ended time.Time
	took  time.Duration
}

// run watches until ctx ends.
func (v *vigil) run(ctx context.Context) {
	for last := time.Now(); sleep(ctx, vigilEvery); {
		now := time.Now()
		v.note(now, now.Sub(last)-vigilEvery)
		last = now
	}
}

func (v *vigil) note(ended time.Time, took time.Duration) {
	if took < vigilNap {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.naps = append(v.naps, nap{ended, took})
}

// missed is how long the machine has stood still since a time.
func (v *vigil) missed(since time.Time) (sum time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.naps {
		if n.ended.After(since) {
			sum += n.took
		}
	}
	return sum
}

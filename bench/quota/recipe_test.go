package main

import (
	"testing"
	"time"
)

func TestRecipeBreakerLetsOneProbeThrough(t *testing.T) {
	t.Parallel()
	var b recipeBreaker
	now := time.Now()
	open := func(at time.Time) (generation int, open bool) {
		generation, wait := b.wait(at)
		return generation, wait > 0
	}
	early, _ := open(now)
	for range breakerRun {
		generation, isOpen := open(now)
		if isOpen {
			t.Fatal("open before its failures in a row")
		}
		b.report(generation, false)
	}
	b.report(early, true)
	if _, isOpen := open(now); !isOpen {
		t.Error("closed after its failures in a row, or by a call from before")
	}
	later := now.Add(breakerOpen + time.Minute)
	probe, isOpen := open(later)
	if isOpen {
		t.Error("no probe when its time is over")
	}
	if _, isOpen := open(later); !isOpen {
		t.Error("a second probe beside the first")
	}
	b.report(probe, true)
	for range 2 {
		if _, isOpen := open(now); isOpen {
			t.Error("not closed after a probe that succeeded")
		}
	}
}

func TestLimitedIsAFloorAndABoundedSpread(t *testing.T) {
	t.Parallel()
	for strikes := range 100 {
		got := limited(3*time.Second, strikes)
		if got < 3*time.Second || got > 3*time.Second+min(time.Second<<min(strikes, 10), maxSpread) {
			t.Errorf("strike %d: waits %v", strikes, got)
		}
	}
}

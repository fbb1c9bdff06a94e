package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A worker that handles so many jobs as soon as it is told to go; none, and it fails.
func init() {
	roles["test worker"] = func(ctx context.Context, spec []byte, p parent) error {
		if err := p.ready(ctx); err != nil {
			return err
		}
		if string(spec) == "0" {
			return errors.New("out of jobs")
		}
		var t tally
		for range len(spec) {
			t.add()
		}
		t.tell(ctx, p.out)
		return ctx.Err()
	}
}

func testCrew(t *testing.T, spec int) *crew {
	t.Helper()
	c, err := hire(t.Context(), 2, func() (*exec.Cmd, error) { return self("test worker", spec) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.stop() })
	return c
}

func TestCrewBeginsWhenToldTo(t *testing.T) {
	t.Parallel()
	c := testCrew(t, 1)
	told := time.Now()
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	if err := c.until(t.Context(), time.Minute, func() bool { return c.handled() == 2 }); err != nil {
		t.Fatal(err)
	}
	if first := c.first(); first.Before(told) || time.Since(first) < 0 {
		t.Errorf("told to go at %v, and began at %v", told, first)
	}
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	for _, m := range c.members {
		if m.Exit() != nil {
			t.Errorf("a worker that was told to stop: %v; %s", m.Exit(), m.LastWords())
		}
	}
}

func TestEndOfAWorkerIsTold(t *testing.T) {
	t.Parallel()
	c := testCrew(t, 0)
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	err := c.until(t.Context(), time.Minute, func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "out of jobs") {
		t.Errorf("%v, want the worker's last words", err)
	}
}

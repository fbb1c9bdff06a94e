package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What was asked for is on standard output, where a pager or grep finds it.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"help", "-h", "-help", "--help"} {
		var out, log strings.Builder
		if err := run(t.Context(), []string{verb}, nil, &out, &log); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "SLUICE_CONCURRENCY") || log.Len() > 0 {
			t.Errorf("%s: %q on standard output, %q beside it", verb, out.String(), log.String())
		}
	}
	var out, log strings.Builder
	if err := run(t.Context(), []string{"dance"}, nil, &out, &log); err == nil || out.Len() > 0 {
		t.Errorf("an unknown argument: %v, %q", err, out.String())
	}
}

// timeout(1) sends its signal twice at the same moment: the second one must not keep the worker from draining.
func TestASignalThatComesTwiceAtOnceIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signalled := context.WithCancel(t.Context())
		ends := false // the process, with the next signal
		heedInsistence(ctx, func() { ends = true })
		signalled()
		time.Sleep(echo - time.Millisecond)
		synctest.Wait()
		if ends {
			t.Error("an echo of the first signal ends the process")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !ends {
			t.Error("nobody can insist")
		}
	})
}

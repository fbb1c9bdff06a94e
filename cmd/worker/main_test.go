package main

import (
	"strings"
	"testing"
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

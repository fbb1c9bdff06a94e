package main

import (
	"testing"
)

// The rig, six of its faults, briefly: what `make test` has the time for. `make chaos` runs all of them for half an hour.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it builds Sluice and breaks a fleet of it for a minute and a half")
	}
	if err := run(t.Context(), []string{"-quick"}, t.Output()); err != nil {
		t.Fatal(err)
	}
}

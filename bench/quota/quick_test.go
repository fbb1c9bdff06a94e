package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The whole benchmark, small: every contender still runs in every scenario, and its figures can be figures.
func TestQuick(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: it builds Sluice and runs fleets of it")
	}
	var out strings.Builder
	picture := filepath.Join(t.TempDir(), "plot.svg")
	if err := run(t.Context(), []string{"-quick", "-plot", picture}, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + out.String())

	calls := map[string]int{}
	for _, sc := range scenarios(quick) {
		for _, c := range contenders(programs{}, quick) {
			cells := find(out.String(), sc.name, c.name())
			if len(cells) != len(columns)-1 {
				t.Errorf("no whole row for %s, %s: %q", sc.name, c.name(), cells)
				continue
			}
			n, err := strconv.Atoi(cells[1])
			if err != nil {
				t.Errorf("%s, %s: %v", sc.name, c.name(), err)
			}
			calls[c.name()] += n
			// A call that arrives before the end may be admitted after it, by a refill that is not counted.
			if used, err := strconv.ParseFloat(cells[3], 64); cells[3] != "-" && (err != nil || used < 0 || used > 101) {
				t.Errorf("%s, %s: %s %% used", sc.name, c.name(), cells[3])
			}
		}
	}
	for name, n := range calls {
		if n == 0 {
			t.Errorf("%s made no call at all", name)
		}
	}
	wellFormed(t, picture)
}

// find gives the cells of a row from the contender's name on; names of scenarios have single spaces, columns more.
func find(table, scenario, contender string) []string {
	for line := range strings.Lines(table) {
		rest, found := strings.CutPrefix(line, scenario+"  ")
		if cells := strings.Fields(rest); found && strings.HasPrefix(strings.TrimSpace(rest), contender+" ") {
			return append([]string{contender}, cells[2:]...) // the name has two words
		}
	}
	return nil
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for d := xml.NewDecoder(file); ; {
		switch _, err := d.Token(); {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			t.Fatalf("%s is no XML: %v", path, err)
		}
	}
}

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
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
			row := find(out.String(), sc.name, c.name())
			if !sc.suits(c) && row == nil {
				continue
			}
			if len(row) != len(columns)-1 {
				t.Errorf("no whole row for %s, %s: %q", sc.name, c.name(), row)
				continue
			}
			cells := cells{t, sc.name + ", " + c.name(), row}
			calls[c.name()] += int(cells.number("calls"))
			cells.check(sc, c)
		}
	}
	for name, n := range calls {
		if n == 0 {
			t.Errorf("%s made no call at all", name)
		}
	}
	wellFormed(t, picture)
}

// cells are those of a row from the contender's name on.
type cells struct {
	t   *testing.T
	row string // whose
	of  []string
}

func (c cells) text(column string) string { return c.of[slices.Index(columns, column)-1] }

// number may have a mark before it.
func (c cells) number(column string) float64 {
	n, err := strconv.ParseFloat(strings.TrimPrefix(c.text(column), ">"), 64)
	if err != nil {
		c.t.Errorf("%s: %s is %q", c.row, column, c.text(column))
	}
	return n
}

// check looks whether all figures that there should be are there, and can be.
func (c cells) check(sc scenario, of contender) {
	if _, isSluice := of.(sluice); isSluice {
		if hot := c.number("HOT %"); hot < 1 || hot > 100 {
			c.t.Errorf("%s: %v %% of the updates were HOT", c.row, hot)
		}
		if charged := c.text("charged"); charged != "-" && charged != "0" || charged == "-" && sc.parked != nil && sc.parked.script == scriptOpen {
			c.t.Errorf("%s: %s attempts were charged while a breaker was open", c.row, charged)
		}
	}
	if c.text("failed") != "0" {
		c.t.Errorf("%s: %s jobs failed", c.row, c.text("failed"))
	}
	if sc.up > 0 {
		if closed := c.number("closed s"); closed < 0 || closed > 60 {
			c.t.Errorf("%s: closed after %v s", c.row, closed)
		}
		return
	}
	used, left, lost := c.number("used %"), c.number("left %"), c.number("lost %")
	if sum := used + left + lost; math.Abs(sum-100) > 0.2 { // each is rounded
		c.t.Errorf("%s: used, left and lost sum to %v", c.row, sum)
	}
	// A call that arrives before the end may be admitted after it, by a refill that is not counted, and between the end and the
	// look at what is left a machine may stand still: up to a bucketful more is used and left than was usable.
	if used < 0 || used > 200 || left < 0 || lost < -100 {
		c.t.Errorf("%s: %v %% used, %v %% left, %v %% lost", c.row, used, left, lost)
	}
	if theirs := c.text("neighbour 429s"); sc.neighbour == nil && theirs != "-" {
		c.t.Errorf("%s: %s %% of the neighbour's calls refused, and there is none", c.row, theirs)
	}
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

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
)

var columns = []string{"scenario", "contender", "calls", "admitted", "used %", "left %", "lost %", "used, steady %", "429s", "neighbour 429s",
	"in flight", "open s", "in outage", "closed s", "back s", "charged", "failed", "quota tx", "HOT %"}

// rows are the table's cells, in the order of columns.
func rows(records []record) [][]string {
	var all [][]string
	for _, r := range records {
		f := measure(r)
		all = append(all, slices.Concat(
			[]string{r.scenario.name, r.contender, fmt.Sprint(f.calls), fmt.Sprint(f.admitted)},
			[]string{percent(f.used, 1), percent(f.left, 1), percent(f.lost, 1), percent(f.steady, 1), percent(f.own429, 2), percent(f.other429, 1)},
			r.outageCells(f), r.bookCells()))
	}
	return all
}

// outageCells are those from "in flight" to "back s".
func (r record) outageCells(f figures) []string {
	cells := []string{"-", "-", "-", "-", "-"}
	if r.up == 0 {
		return cells
	}
	cells[0], cells[2] = fmt.Sprint(f.inFlight), fmt.Sprint(f.inOutage)
	if f.wasOpened {
		cells[1] = seconds(f.opened, true)
	}
	cells[3] = seconds(f.closed, f.wasClosed)
	if f.wasClosed {
		cells[4] = seconds(f.back, f.wasBack)
	}
	return cells
}

// bookCells are those from "charged" on: what does not come from the provider.
func (r record) bookCells() []string {
	cells := []string{"-", fmt.Sprint(r.failed), "-", "-"}
	if r.quotaTxKnown {
		cells[2] = fmt.Sprintf("%.2f", r.quotaTx)
	}
	if r.books == nil {
		return cells
	}
	if r.books.opened != nil {
		cells[0] = fmt.Sprint(r.books.charged)
	}
	cells[3] = percent(share{float64(r.books.hot), float64(r.books.updates)}, 1)
	return cells
}

func percent(s share, digits int) string {
	if s.none() {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, s.percent())
}

// seconds marks a time in which something did not happen.
func seconds(d time.Duration, happened bool) string {
	text := fmt.Sprintf("%.1f", d.Seconds())
	if !happened {
		return ">" + text
	}
	return text
}

// table is of all records.
func table(records []record) rig.Table {
	return rig.Table{Columns: columns, Names: 2, Rows: rows(records)}
}

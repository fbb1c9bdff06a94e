package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

var columns = []string{"scenario", "contender", "calls", "admitted", "used %", "left %", "429s", "neighbour 429s",
	"in flight", "in outage", "back s", "failed", "quota tx"}

// rows are the table's cells, in the order of columns.
func rows(records []record) [][]string {
	var all [][]string
	for _, r := range records {
		f := measure(r)
		row := []string{r.scenario.name, r.contender, fmt.Sprint(f.calls), fmt.Sprint(f.admitted),
			percent(f.used, 1), percent(f.left, 1), percent(f.own429, 2), percent(f.other429, 1),
			"-", "-", "-", fmt.Sprint(r.failed), "-"}
		if r.up > 0 {
			row[8], row[9], row[10] = fmt.Sprint(f.inFlight), fmt.Sprint(f.inOutage), f.backText()
		}
		if r.quotaTxKnown {
			row[12] = fmt.Sprintf("%.2f", r.quotaTx)
		}
		all = append(all, row)
	}
	return all
}

func percent(s share, digits int) string {
	if s.none() {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, s.percent())
}

func (f figures) backText() string {
	text := fmt.Sprintf("%.1f", f.back.Seconds())
	if !f.wasBack {
		return ">" + text
	}
	return text
}

// leftAligned are the columns of names; the others are numbers.
const leftAligned = 2

// writeText writes an aligned table, with a line between scenarios.
func writeText(w io.Writer, rows [][]string) {
	widths := widths(rows)
	line := func(row []string) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < leftAligned {
				b.WriteString(cell + pad + "  ")
			} else {
				b.WriteString(pad + cell + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(columns)
	for i, row := range rows {
		if i == 0 || row[0] != rows[i-1][0] {
			fmt.Fprintln(w)
		}
		line(row)
	}
}

func widths(rows [][]string) []int {
	widths := make([]int, len(columns))
	for _, row := range append([][]string{columns}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// writeMarkdown writes the same table.
func writeMarkdown(w io.Writer, rows [][]string) {
	fmt.Fprintf(w, "| %s |\n|%s%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", leftAligned), strings.Repeat(" ---: |", len(columns)-leftAligned))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

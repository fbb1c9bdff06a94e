package rig

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is what was measured, as cells.
type Table struct {
	Columns []string
	Names   int // so many columns, the first ones, are names; the others are numbers
	Rows    [][]string
}

// Text writes the table aligned, with an empty line wherever the first column changes.
func (t Table) Text(w io.Writer) {
	widths := t.widths()
	t.line(w, widths, t.Columns)
	for i, row := range t.Rows {
		if i == 0 || row[0] != t.Rows[i-1][0] {
			fmt.Fprintln(w)
		}
		t.line(w, widths, row)
	}
}

func (t Table) line(w io.Writer, widths []int, row []string) {
	var b strings.Builder
	for i, cell := range row {
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i < t.Names {
			b.WriteString(cell + pad + "  ")
		} else {
			b.WriteString(pad + cell + "  ")
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

func (t Table) widths() []int {
	widths := make([]int, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// Markdown writes the same table.
func (t Table) Markdown(w io.Writer) {
	fmt.Fprintf(w, "| %s |\n|%s%s\n", strings.Join(t.Columns, " | "),
		strings.Repeat(" --- |", t.Names), strings.Repeat(" ---: |", len(t.Columns)-t.Names))
	for _, row := range t.Rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

package main

import (
	"fmt"
	"slices"
	"strings"
)

// figure is a quantity that is measured, with its unit and as many digits as mean something.
type figure struct {
	name   string
	digits int
}

var (
	jobRate     = figure{"jobs/s", 0}
	postgresCPU = figure{"Postgres us/job", 1}
	workerCPU   = figure{"worker us/job", 1}
	walBytes    = figure{"WAL B/job", 0}
	commitCount = figure{"commits/job", 3}
)

// figures are those of one trial.
type figures map[figure]float64

// String tells all of them in one line.
func (f figures) String() string {
	var parts []string
	for figure, value := range f {
		parts = append(parts, figure.format(value)+" "+figure.name)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// row is one contender in one test, all its trials.
type row struct {
	part, test, contender string
	trials                []figures
}

// values are those of a figure in all trials, in order of size; none where it was not measured.
func (r row) values(f figure) []float64 {
	var all []float64
	for _, trial := range r.trials {
		if v, ok := trial[f]; ok {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return all
}

// median is that of all trials; false where it was not measured.
func (r row) median(f figure) (float64, bool) {
	all := r.values(f)
	if len(all) == 0 {
		return 0, false
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, true
}

// cell is the median of a figure, "-" without.
func (r row) cell(f figure) string {
	median, ok := r.median(f)
	if !ok {
		return "-"
	}
	return f.format(median)
}

// spread is the least and the most of a figure.
func (r row) spread(f figure) string {
	all := r.values(f)
	if len(all) < 2 {
		return "-"
	}
	return f.format(all[0]) + " to " + f.format(all[len(all)-1])
}

func (f figure) format(v float64) string { return commas(fmt.Sprintf("%.*f", f.digits, v)) }

func thousands(n float64) string { return commas(fmt.Sprintf("%.0f", n)) }

// commas puts one between each three digits before the point.
func commas(text string) string {
	whole, fraction, _ := strings.Cut(text, ".")
	sign := ""
	if rest, negative := strings.CutPrefix(whole, "-"); negative {
		sign, whole = "-", rest
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction
}

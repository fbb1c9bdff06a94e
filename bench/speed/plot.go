package main

import (
	"fmt"
	"slices"

	"github.com/sluicedev/sluice/bench/rig"
)

// Sizes of the plot, in pixels.
const (
	plotWidth, plotTop        = 900, 40
	plotLeft, plotRight       = 250, 170 // for names, for figures
	columnHeight, columnSpace = 16, 2
	testSpace                 = 26
)

// colours are told apart by eyes of all kinds.
var colours = map[string]string{
	"sluice": "#0072b2", "sluice paced": "#56b4e9",
	"river": "#d55e00", "river 100": "#d55e00", "river defaults": "#e69f00", yardstickName: "#f0c090",
	"graphile-worker": "#009e73", "pg-boss": "#cc79a7",
}

// scaling is how the lengths of a plot compare.
type scaling int

const (
	noPlot    scaling = iota
	oneScale          // for all tests
	scaleEach         // for each test one, as they are of different sizes
)

// plot draws the part's first figure: a bar of the median's length for each contender of each test, with a line from the
// least to the most of all trials.
func plot(p part, rows []*row) []byte {
	f := p.columns[0]
	tests := byTest(rows)
	picture := rig.NewPicture(plotWidth, plotTop+len(rows)*(columnHeight+columnSpace)+len(tests)*testSpace+10)
	note := ""
	if p.plot == scaleEach {
		note = "; each test has a scale of its own"
	}
	picture.Text(10, 20, rig.Style{Size: 14}, fmt.Sprintf("%s: %s, medians, and the range of all trials%s", title(p.name), f.name, note))
	longest := most(f, rows)
	y := float64(plotTop)
	for _, rows := range tests {
		if p.plot == scaleEach {
			longest = most(f, rows)
		}
		y += testSpace
		picture.Text(10, y-6, rig.Style{Bold: true}, rows[0].test)
		for _, r := range rows {
			drawRow(picture, r, f, y, longest)
			y += columnHeight + columnSpace
		}
	}
	return picture.Bytes()
}

// byTest are rows in a row that are of one test.
func byTest(rows []*row) (tests [][]*row) {
	for i, r := range rows {
		if i == 0 || r.test != rows[i-1].test {
			tests = append(tests, nil)
		}
		tests[len(tests)-1] = append(tests[len(tests)-1], r)
	}
	return tests
}

// most is the highest value of a figure in all trials.
func most(f figure, rows []*row) (v float64) {
	for _, r := range rows {
		v = max(v, slices.Max(append(r.values(f), 0)))
	}
	return v
}

func drawRow(picture *rig.Picture, r *row, f figure, y, longest float64) {
	median, measured := r.median(f)
	if !measured {
		return
	}
	length := func(v float64) float64 { return v / longest * (plotWidth - plotLeft - plotRight) }
	all := r.values(f)
	middle := y + columnHeight/2
	picture.Text(plotLeft-8, middle+4, rig.Style{Anchor: "end"}, r.contender)
	picture.Rect(plotLeft, y, length(median), columnHeight, colours[r.contender])
	picture.Line(plotLeft+length(all[0]), middle, plotLeft+length(all[len(all)-1]), middle)
	picture.Text(plotLeft+length(all[len(all)-1])+6, middle+4, rig.Style{}, f.format(median))
}

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
	"river": "#d55e00", "river defaults": "#e69f00", yardstickName: "#f0c090",
	"graphile-worker": "#009e73", "pg-boss": "#cc79a7",
}

// plot draws the part's first figure: a bar of the median's length for each contender of each test, with a line from the
// least to the most of all trials. Each test has a scale of its own only where it would not be seen otherwise.
func plot(p part, rows []*row) []byte {
	f := p.columns[0]
	var longest float64
	for _, r := range rows {
		longest = max(longest, slices.Max(append(r.values(f), 0)))
	}
	tests := 0
	for i, r := range rows {
		if i == 0 || r.test != rows[i-1].test {
			tests++
		}
	}
	picture := rig.NewPicture(plotWidth, plotTop+len(rows)*(columnHeight+columnSpace)+tests*testSpace+10)
	picture.Text(10, 20, rig.Style{Size: 14}, fmt.Sprintf("%s: %s, medians, and the range of all trials", title(p.name), f.name))
	y, test := plotTop, ""
	for _, r := range rows {
		if r.test != test {
			test, y = r.test, y+testSpace
			picture.Text(10, float64(y-6), rig.Style{Bold: true}, test)
		}
		drawRow(picture, r, f, float64(y), longest)
		y += columnHeight + columnSpace
	}
	return picture.Bytes()
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

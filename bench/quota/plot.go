package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// Sizes of the plot, in pixels, and colours that are told apart by eyes of all kinds.
const (
	plotWidth, stripHeight, stripGap = 900, 90, 34
	marginLeft, marginTop            = 60, 50
	marginRight                      = 20 // half of the last time on the axis

	colourAdmitted, colourRefused, colourOutage = "#0072b2", "#d55e00", "#eeeeee"
	step                                        = 500 * time.Millisecond
	clipAt                                      = 4 // times the limit's pace; taller columns are cut, and their height is told
)

// plot draws calls a second over time, one strip for each record: admitted below, refused on top.
func plot(records []record) []byte {
	p := rig.NewPicture(plotWidth, marginTop+len(records)*(stripHeight+stripGap)+20)
	p.Text(marginLeft, 20, rig.Style{Size: 14}, "Calls per second:")
	p.Text(marginLeft+115, 20, rig.Style{Size: 14, Colour: colourAdmitted}, "admitted")
	p.Text(marginLeft+180, 20, rig.Style{Size: 14, Colour: colourRefused}, "refused")
	p.Text(marginLeft+235, 20, rig.Style{Size: 14},
		fmt.Sprintf("line: the limit's refill; grey: the outage; steps of %v, cut at %d times the refill", step, clipAt))
	for i, r := range records {
		strip{record: r, top: float64(marginTop + i*(stripHeight+stripGap))}.draw(p)
	}
	return p.Bytes()
}

// strip is one contender's part of the plot.
type strip struct {
	record
	top float64
}

func (s strip) draw(p *rig.Picture) {
	bottom := s.top + stripHeight
	if s.up > 0 {
		p.Rect(s.x(s.down), s.top, s.x(s.up)-s.x(s.down), stripHeight, colourOutage)
	}
	admittedRate, refusedRate := s.rates()
	for i := range admittedRate {
		x, width := s.x(s.from+time.Duration(i)*step), s.x(s.from+step)-s.x(s.from)
		low := s.height(admittedRate[i])
		high := s.height(admittedRate[i] + refusedRate[i])
		p.Rect(x, bottom-low, width, low, colourAdmitted)
		p.Rect(x, bottom-high, width, high-low, colourRefused)
	}
	s.axes(p, bottom, slices.Max(admittedRate), slices.Max(refusedRate))
}

func (s strip) axes(p *rig.Picture, bottom, mostAdmitted, mostRefused float64) {
	pace := s.scenario.pace()
	line := bottom - s.height(pace)
	p.Dashes(marginLeft, line, plotWidth-marginRight, line)
	p.Line(marginLeft, bottom, plotWidth-marginRight, bottom)
	p.Text(marginLeft-5, line+4, rig.Style{Anchor: "end"}, fmt.Sprintf("%.0f", pace))
	p.Text(marginLeft, s.top-4, rig.Style{Bold: true}, s.contender+", "+s.scenario.name)
	p.Text(plotWidth-marginRight, s.top-4, rig.Style{Anchor: "end"}, fmt.Sprintf("peaks: %.0f admitted, %.0f refused", mostAdmitted, mostRefused))
	for at := time.Duration(0); at <= s.to-s.from; at += s.tick() {
		p.Text(s.x(s.from+at), bottom+12, rig.Style{Size: 10, Anchor: "middle"}, fmt.Sprintf("%gs", at.Seconds()))
	}
}

// tick is how far the times on the axis are apart.
func (s strip) tick() time.Duration { return max(step, s.scenario.window/2) }

// rates are calls a second in each step.
func (s strip) rates() (admittedRate, refusedRate []float64) {
	n := max(1, int((s.to-s.from)/step))
	rate := func(which func(llmtest.Call) bool) []float64 {
		rates := make([]float64, n)
		for _, c := range s.calls {
			if i := int((c.At - s.from) / step); c.At >= s.from && i < n && !isNeighbour(c.ID) && which(c) {
				rates[i] += 1 / step.Seconds()
			}
		}
		return rates
	}
	return rate(admitted), rate(func(c llmtest.Call) bool { return !admitted(c) })
}

func (s strip) x(at time.Duration) float64 {
	return marginLeft + (plotWidth-marginRight-marginLeft)*float64(at-s.from)/float64(s.to-s.from)
}

// height is a rate in pixels, cut at the top of the strip.
func (s strip) height(rate float64) float64 {
	return stripHeight * min(1, rate/(clipAt*s.scenario.pace()))
}

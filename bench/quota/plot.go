package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"time"

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
	b := new(bytes.Buffer)
	height := marginTop + len(records)*(stripHeight+stripGap) + 20
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, height)
	fmt.Fprintf(b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="14">Calls per second: `+
		`<tspan fill="%s">admitted</tspan>, <tspan fill="%s">refused</tspan>; line: the limit's refill; grey: the outage; steps of %v, cut at %d times the refill</text>`+"\n",
		marginLeft, colourAdmitted, colourRefused, step, clipAt)
	for i, r := range records {
		strip{record: r, top: marginTop + i*(stripHeight+stripGap)}.draw(b)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// strip is one contender's part of the plot.
type strip struct {
	record
	top int
}

func (s strip) draw(b *bytes.Buffer) {
	bottom := float64(s.top + stripHeight)
	if s.up > 0 {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", s.x(s.down), s.top, s.x(s.up)-s.x(s.down), stripHeight, colourOutage)
	}
	admittedRate, refusedRate := s.rates()
	for i := range admittedRate {
		x, width := s.x(s.from+time.Duration(i)*step), s.x(s.from+step)-s.x(s.from)
		low := s.height(admittedRate[i])
		high := s.height(admittedRate[i] + refusedRate[i])
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x, bottom-low, width, low, colourAdmitted)
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, bottom-high, width, high-low, colourRefused)
	}
	s.axes(b, bottom, slices.Max(admittedRate), slices.Max(refusedRate))
}

func (s strip) axes(b *bytes.Buffer, bottom, mostAdmitted, mostRefused float64) {
	pace := s.scenario.pace()
	line := bottom - s.height(pace)
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="black" stroke-dasharray="4 3"/>`, marginLeft, plotWidth-marginRight, line, line)
	fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="black"/>`, marginLeft, plotWidth-marginRight, bottom, bottom)
	fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%.0f</text>`, marginLeft-5, line+4, pace)
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`, marginLeft, s.top-4, html.EscapeString(s.contender+", "+s.scenario.name))
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">peaks: %.0f admitted, %.0f refused</text>`+"\n", plotWidth-marginRight, s.top-4, mostAdmitted, mostRefused)
	for at := time.Duration(0); at <= s.to-s.from; at += s.tick() {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="10">%gs</text>`, s.x(s.from+at), bottom+12, at.Seconds())
	}
	b.WriteString("\n")
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

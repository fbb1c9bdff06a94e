package rig

import (
	"bytes"
	"fmt"
	"html"
)

// Picture is an SVG that is being drawn.
type Picture struct{ b bytes.Buffer }

// NewPicture is white, of so many pixels.
func NewPicture(width, height int) *Picture {
	p := &Picture{}
	fmt.Fprintf(&p.b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	p.b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	return p
}

// Rect draws an area of one colour.
func (p *Picture) Rect(x, y, width, height float64, colour string) {
	fmt.Fprintf(&p.b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, width, height, colour)
}

// Line draws a black line.
func (p *Picture) Line(x1, y1, x2, y2 float64) { p.line(x1, y1, x2, y2, "") }

// Dashes draws a broken line.
func (p *Picture) Dashes(x1, y1, x2, y2 float64) { p.line(x1, y1, x2, y2, ` stroke-dasharray="4 3"`) }

func (p *Picture) line(x1, y1, x2, y2 float64, more string) {
	fmt.Fprintf(&p.b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="black"%s/>`+"\n", x1, y1, x2, y2, more)
}

// Style of a text. The zero value is what most of it looks like.
type Style struct {
	Size   int // 0: 12
	Bold   bool
	Anchor string // "start", "middle", "end"; "": start
	Colour string // "": black
}

// Text writes at a point of its baseline.
func (p *Picture) Text(x, y float64, style Style, text string) {
	fmt.Fprintf(&p.b, `<text x="%.1f" y="%.1f"%s>%s</text>`+"\n", x, y, style.attributes(), html.EscapeString(text))
}

func (s Style) attributes() (text string) {
	if s.Size > 0 {
		text += fmt.Sprintf(` font-size="%d"`, s.Size)
	}
	if s.Bold {
		text += ` font-weight="bold"`
	}
	if s.Anchor != "" {
		text += fmt.Sprintf(` text-anchor="%s"`, s.Anchor)
	}
	if s.Colour != "" {
		text += fmt.Sprintf(` fill="%s"`, s.Colour)
	}
	return text
}

// Bytes ends the picture.
func (p *Picture) Bytes() []byte {
	p.b.WriteString("</svg>\n")
	return p.b.Bytes()
}

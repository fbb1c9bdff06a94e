package rig

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestFindWaitsForWords(t *testing.T) {
	t.Parallel()
	p, err := Start(exec.Command("sh", "-c", "echo one; echo port 42 >&2; exec cat"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := p.Find(t.Context(), regexp.MustCompile(`port (\d+)`))
	if err != nil || found[1] != "42" {
		t.Errorf("found %q, %v", found, err)
	}
	p.Stop(time.Minute)
	if _, err := p.Find(t.Context(), regexp.MustCompile("never said")); err == nil || !strings.Contains(err.Error(), "one\n") {
		t.Errorf("%v; want its last words", err)
	}
}

func TestProcessThatDoesNotEndIsKilled(t *testing.T) {
	t.Parallel()
	p, err := Start(exec.Command("sh", "-c", `trap "" TERM; echo deaf; while :; do sleep 1; done`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Find(t.Context(), regexp.MustCompile("deaf")); err != nil {
		t.Fatal(err)
	}
	p.Stop(time.Millisecond)
	if p.Exit() == nil {
		t.Error("it ended well, but it does not heed the signal")
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	table := Table{Columns: []string{"test", "jobs/s"}, Names: 1, Rows: [][]string{{"a", "1,000"}, {"bcdef", "10"}, {"bcdef", "9"}}}
	var text, markdown strings.Builder
	table.Text(&text)
	table.Markdown(&markdown)
	if want := "test   jobs/s\n\na       1,000\n\nbcdef      10\nbcdef       9\n"; text.String() != want {
		t.Errorf("%q, want %q", text.String(), want)
	}
	if want := "| test | jobs/s |\n| --- | ---: |\n| a | 1,000 |\n| bcdef | 10 |\n| bcdef | 9 |\n"; markdown.String() != want {
		t.Errorf("%q, want %q", markdown.String(), want)
	}
}

func TestPictureEscapesText(t *testing.T) {
	t.Parallel()
	p := NewPicture(10, 20)
	p.Text(1, 2, Style{Size: 9, Bold: true, Anchor: "end", Colour: "red"}, "a < b")
	if svg := string(p.Bytes()); !strings.Contains(svg, "a &lt; b</text>") || !strings.HasSuffix(svg, "</svg>\n") {
		t.Error(svg)
	}
}

func TestMachineTellsItsProcessors(t *testing.T) {
	t.Parallel()
	if words := Machine(); !regexp.MustCompile(`^[1-9]\d* CPUs`).MatchString(words) {
		t.Error(words)
	}
}

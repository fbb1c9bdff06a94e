package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/sluicedev/sluice/bench/rig"
)

// part is a chapter of the benchmark.
type part struct {
	name    string
	about   string // a sentence or two for the page
	run     func(*bench, context.Context) error
	columns []figure // the range of the first is told
	plot    scaling  // of the first
}

var drainColumns = []figure{jobRate, postgresCPU, workerCPU, walBytes, commitCount}

// parts are all, in their order.
var parts = []part{
	{"drain", "Jobs that are all there, with 300 bytes of payload and 100 of result, are worked off by handlers that do nothing. " +
		"Large ones have 8 kB and 20 kB.", (*bench).drains, drainColumns, oneScale},
	{"enqueue", "Clients in a process of their own wait for each answer, after which the job is durable.",
		(*bench).enqueues, []figure{enqueueRate, answerP50, answerP99}, scaleEach},
	{"enqueue to start", "From the answer to an enqueue until the provider receives the call.",
		(*bench).starts, []figure{startP50, startP95, startP99, fromSentP50, fromSentP99, startedCount}, noPlot},
	{"flatness", "The drain by two processes, beside what else a queue may hold.", (*bench).flats, drainColumns, oneScale},
	{"in flight", "One worker, and a provider that keeps every call waiting.",
		(*bench).flights, []figure{rssPerCall, heapPerCall, cpuPerCall, connections, secondsToStart}, noPlot},
	{"idle", "A fleet that has nothing to do.", (*bench).idles, []figure{queryRate, commitRate, idleCPU}, noPlot},
}

// rowsOf are those of a part.
func (b *bench) rowsOf(p part) (rows []*row) {
	for _, r := range b.rows {
		if r.part == p.name {
			rows = append(rows, r)
		}
	}
	return rows
}

func (b *bench) table(p part) rig.Table {
	t := rig.Table{Columns: []string{p.name, "contender", p.columns[0].name, "range"}, Names: 2}
	for _, f := range p.columns[1:] {
		t.Columns = append(t.Columns, f.name)
	}
	for _, r := range b.rowsOf(p) {
		cells := []string{r.test, r.contender, r.cell(p.columns[0]), r.spread(p.columns[0])}
		for _, f := range p.columns[1:] {
			cells = append(cells, r.cell(f))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// tables are those of all parts that ran, and that of the bars.
func (b *bench) tables(each func(p part, table rig.Table)) (bars rig.Table) {
	for _, p := range parts {
		if table := b.table(p); len(table.Rows) > 0 {
			each(p, table)
		}
	}
	return barTable(b.bars(), b.rows)
}

// print writes all tables, the bars at the end, where they are seen.
func (b *bench) print(out io.Writer, conditions string) {
	fmt.Fprintf(out, "%s.\n", conditions)
	bars := b.tables(func(_ part, table rig.Table) {
		fmt.Fprintln(out)
		table.Text(out)
	})
	if len(bars.Rows) > 0 {
		fmt.Fprintln(out)
		bars.Text(out)
	}
}

// save writes the page and its plots to where they were asked for.
func (b *bench) save(ctx context.Context, conditions string) error {
	if b.page != "" {
		if err := b.savePage(b.page, conditions); err != nil {
			return err
		}
	}
	if !b.write {
		return nil
	}
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	return b.savePage(filepath.Join(root, "docs"), conditions)
}

func (b *bench) savePage(folder, conditions string) error {
	errs := []error{rig.Save(filepath.Join(folder, "benchmarks.md"), b.markdown(conditions), b.progress)}
	for _, p := range parts {
		if rows := b.rowsOf(p); p.plot != noPlot && len(rows) > 0 {
			errs = append(errs, rig.Save(filepath.Join(folder, plotName(p)), plot(p, rows), b.progress))
		}
	}
	return errors.Join(errs...)
}

func plotName(p part) string { return "benchmarks-" + p.name + ".svg" }

// tried is what was done where a bar is missed, by hand: it names figures of the day on which it was written.
//
//go:embed tried.md
var tried string

// markdown is the page.
func (b *bench) markdown(conditions string) []byte {
	var page, details bytes.Buffer
	bars := b.tables(func(p part, table rig.Table) {
		fmt.Fprintf(&details, "\n## %s\n\n%s\n\n", title(p.name), p.about)
		table.Markdown(&details)
		if p.plot != noPlot {
			fmt.Fprintf(&details, "\n![%s: %s](%s)\n", title(p.name), p.columns[0].name, plotName(p))
		}
	})
	fmt.Fprintf(&page, "# Speed, and what it costs\n\nBy `make bench`; the package comment of `bench/speed` says what each figure means, "+
		"and what it does not show. [Quota](benchmarks-quota.md) is measured apart.\n\n%s.\n\n## What was promised\n\n", conditions)
	bars.Markdown(&page)
	page.Write(details.Bytes())
	page.WriteString("\n" + tried)
	return page.Bytes()
}

func title(name string) string { return string(name[0]-'a'+'A') + name[1:] }

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"time"
)

// enqueues are the jobs that come one by one, and those that come in batches.
func (b *bench) enqueues(ctx context.Context) error {
	for _, n := range b.clients {
		p := pace{Clients: n, Warm: b.warm, Span: b.span}
		if err := b.repeat(ctx, "enqueue", b.trials, []entry{
			b.overHTTP(singleTest(n), sluiceFront{}, p, 1), b.overHTTP(singleTest(n), riverFront{riverDefaults}, p, 1),
		}); err != nil {
			return err
		}
	}
	for _, n := range b.senders {
		p, test := pace{Clients: n, Span: b.span}, batchTest(b.batch, n)
		if err := b.repeat(ctx, "enqueue", b.trials, []entry{
			b.overHTTP(test, sluiceFront{}, p, b.batch), b.overHTTP(test, riverFront{riverDefaults}, p, b.batch), b.inBulk(test, p),
		}); err != nil {
			return err
		}
	}
	return nil
}

// front is a way in over HTTP.
type front interface {
	tabled
	// server is the command of the process that listens.
	server(b *bench, at database) (*exec.Cmd, error)
	// clients fills in how to ask it for so many jobs a request.
	clients(spec clientsSpec) clientsSpec
}

// sluiceFront is bin/api.
type sluiceFront struct{}

func (sluiceFront) name() string { return sluicePlain.name() }

func (sluiceFront) schema(ctx context.Context, url string) error { return sluicePlain.schema(ctx, url) }

func (sluiceFront) server(b *bench, at database) (*exec.Cmd, error) {
	return b.program("api", at, "PORT=0")
}

func (sluiceFront) clients(s clientsSpec) clientsSpec {
	s.Path = "/api/ai/enqueue"
	if s.Batch > 1 {
		s.Path += "/batch"
	}
	s.Type = cmp.Or(s.Type, "plain")
	return s
}

// riverFront is River's insert behind a handler of Echo.
type riverFront struct{ riverQueue }

func (f riverFront) name() string { return yardstickName }

// yardstickName is that of River behind Echo.
const yardstickName = "river over HTTP"

func (f riverFront) server(_ *bench, at database) (*exec.Cmd, error) {
	return self("yardstick", yardstickSpec{URL: at.url, Settings: f.settings})
}

func (riverFront) clients(s clientsSpec) clientsSpec {
	s.Path, s.Type = "/jobs", ""
	if s.Batch > 1 {
		s.Path += "/batch"
	}
	return s
}

// overHTTP has clients in a process of their own enqueue into an empty queue that nobody works.
func (b *bench) overHTTP(test string, f front, p pace, batch int) entry {
	return entry{test, f.name(), func(ctx context.Context) (figures, error) {
		return b.fresh(ctx, f, func(at database) (got figures, err error) {
			all, err := b.send(ctx, f, at, clientsSpec{Pace: p, Batch: batch, Payload: lean(0).payload})
			return enqueued(all, batch), err
		})
	}}
}

// send opens a front, has clients send, and closes it.
func (b *bench) send(ctx context.Context, f front, at database, spec clientsSpec) (all []sent, err error) {
	cmd, err := f.server(b, at)
	if err != nil {
		return nil, err
	}
	server, err := serve(ctx, cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	spec.Address = server.address
	return requests(ctx, "clients", f.clients(spec))
}

// requests are what a process sent.
func requests(ctx context.Context, role string, spec any) (all []sent, err error) {
	out, err := ask(ctx, role, spec)
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(out, &all)
	if err == nil && len(all) == 0 {
		err = errors.New("nothing was answered in the time that is counted")
	}
	return all, err
}

// inBulk is River's fastest insert, without any HTTP.
func (b *bench) inBulk(test string, p pace) entry {
	return entry{test, riverFastest.name(), func(ctx context.Context) (figures, error) {
		return b.fresh(ctx, riverFastest, func(at database) (figures, error) {
			all, err := requests(ctx, "river bulk", bulkSpec{URL: at.url, Pace: p, Batch: b.batch, Payload: lean(0).payload})
			return enqueued(all, b.batch), err
		})
	}}
}

var (
	enqueueRate = figure{"jobs/s", 0}
	answerP50   = figure{"p50 ms", 2}
	answerP99   = figure{"p99 ms", 2}
)

// enqueued are the figures of requests for so many jobs each.
func enqueued(all []sent, batch int) figures {
	if len(all) == 0 {
		return nil
	}
	var took []time.Duration
	from, until := all[0].From, all[0].Until
	for _, s := range all {
		took = append(took, s.Until.Sub(s.From))
		if s.From.Before(from) {
			from = s.From
		}
		if s.Until.After(until) {
			until = s.Until
		}
	}
	return figures{
		enqueueRate: float64(len(all)*batch) / until.Sub(from).Seconds(),
		answerP50:   quantile(took, 0.50),
		answerP99:   quantile(took, 0.99),
	}
}

// quantile in milliseconds; it sorts the durations.
func quantile(all []time.Duration, q float64) float64 {
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1)+0.5)].Microseconds()) / 1000
}

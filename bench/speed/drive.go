package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// pace is how requests are sent.
type pace struct {
	Clients    int
	Warm, Span time.Duration // not counted, counted
	Rate       float64       // requests a second, at random times; 0: each client asks as soon as it was answered
}

// sent is one request that was answered.
type sent struct {
	Job         string // its id, if it was for one
	From, Until time.Time
}

// caller sends the n-th request and waits for the answer.
type caller func(n int) (job string, err error)

// drive has clients send requests, and returns those that were sent after the warming up. A machine may stand still for all
// of the time that is counted; then there is another.
func (p pace) drive(ctx context.Context, connect func() (caller, error)) (all []sent, err error) {
	for len(all) == 0 && err == nil && ctx.Err() == nil {
		all, err = p.driveOnce(ctx, connect)
	}
	return all, err
}

func (p pace) driveOnce(ctx context.Context, connect func() (caller, error)) (all []sent, err error) {
	counted := time.Now().Add(p.Warm)
	ctx, cancel := context.WithDeadline(ctx, counted.Add(p.Span))
	defer cancel()
	turns := p.turns(ctx)
	each := make([][]sent, p.Clients)
	errs := make([]error, p.Clients)
	var running sync.WaitGroup
	for i := range p.Clients {
		running.Go(func() {
			var call caller
			if call, errs[i] = connect(); errs[i] == nil {
				each[i], errs[i] = client(turns, call, counted)
			}
		})
	}
	running.Wait()
	for _, some := range each {
		all = append(all, some...)
	}
	return all, errors.Join(errs...)
}

// turns says when to send, until ctx ends.
func (p pace) turns(ctx context.Context) <-chan int {
	turns := make(chan int)
	go func() {
		defer close(turns)
		next := time.Now()
		for n := 0; ; n++ {
			if p.Rate > 0 {
				next = next.Add(time.Duration(rand.ExpFloat64() / p.Rate * float64(time.Second)))
				time.Sleep(time.Until(next))
			}
			select {
			case turns <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return turns
}

// client sends in its turns and notes what it sent after the warming up.
func client(turns <-chan int, call caller, counted time.Time) (all []sent, err error) {
	for n := range turns {
		from := time.Now()
		job, err := call(n)
		if err != nil {
			return nil, err
		}
		if from.After(counted) {
			all = append(all, sent{Job: job, From: from, Until: time.Now()})
		}
	}
	return all, nil
}

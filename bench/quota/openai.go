package main

import (
	"context"
	"sync"

	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
)

// sdk is openai-go as it comes, with its built-in retries. A call that fails even so goes back to the end of the list, so
// that no job is lost: the SDK has no opinion on that.
type sdk struct{ processes }

func (c sdk) name() string { return c.of("openai-go") }

func (c sdk) start(_ context.Context, at place) (fleet, error) {
	ctx, cancel := context.WithCancel(context.Background())
	return &sdkFleet{processes: c.processes, at: at, ctx: ctx, cancel: cancel}, nil
}

type sdkFleet struct {
	processes
	at      place
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (f *sdkFleet) load(_ context.Context, jobs []job) error {
	list := make(chan job, len(jobs)) // room for all of them, so that putting one back never blocks
	for _, j := range jobs {
		list <- j
	}
	for range f.processes {
		c := newClient(f.at.baseURL, f.slots())
		context.AfterFunc(f.ctx, c.close)
		service := responses.NewResponseService(option.WithBaseURL(f.at.baseURL), option.WithAPIKey("sk-bench"), option.WithHTTPClient(c.http))
		for range f.slots() {
			f.running.Go(func() { f.work(service, list) })
		}
	}
	return nil
}

func (f *sdkFleet) work(service responses.ResponseService, list chan job) {
	for {
		select {
		case <-f.ctx.Done():
			return
		case j := <-list:
			if err := f.call(service, j); err != nil {
				list <- j
			}
		}
	}
}

func (f *sdkFleet) call(service responses.ResponseService, j job) error {
	stream := service.NewStreaming(f.ctx, responses.ResponseNewParams{
		Model:           model,
		Input:           responses.ResponseNewParamsInputUnion{OfString: param.NewOpt(j.input)},
		MaxOutputTokens: param.NewOpt(j.tokens),
	}, option.WithHeader("X-Client-Request-Id", j.input))
	for stream.Next() {
	}
	defer stream.Close()
	return stream.Err()
}

func (*sdkFleet) failed(context.Context) (int, error) { return 0, nil }

// slots are one process's.
func (f *sdkFleet) slots() int { return f.at.slots / int(f.processes) }

func (f *sdkFleet) stop() error {
	f.cancel()
	f.running.Wait()
	return nil
}

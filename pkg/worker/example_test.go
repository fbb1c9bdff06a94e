package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

// wordCount is a handler of one's own: any Go code, with the queue's leases, retries, audit and drain around it.
func wordCount(ctx context.Context, job worker.Job) (worker.Result, error) {
	var payload struct{ Text string }
	if err := json.Unmarshal(job.Payload, &payload); err != nil {
		return worker.Result{}, worker.Reject(err) // fails at once: trying again would not help
	}
	if payload.Text == "" {
		return worker.Result{}, worker.Snooze(time.Minute, errors.New("the text is not there yet")) // uncharged
	}
	return worker.Result{OutputText: fmt.Sprint(len(strings.Fields(payload.Text)), " words")}, nil
}

// A process of one's own that runs jobs of a custom type. In a configuration file the type reads
// `report.words: {handler: custom}`.
func Example() {
	run := func(ctx context.Context, db, pulse pg.DB, log *slog.Logger) error {
		types, err := jobtype.NewSet(reportWords)
		if err != nil {
			return err
		}
		w := worker.New(db, pulse, upstream.New(db), worker.Config{
			Types: types, Concurrency: 10, DeathAfter: 30 * time.Second, DrainLimit: 25 * time.Second, Log: log,
		})
		w.Handle("report.words", wordCount)
		return w.Run(ctx) // until ctx ends; then it drains
	}
	_ = run
}

var reportWords = jobtype.Type{Name: "report.words", Custom: true, Priority: 5, MaxAttempts: 3, Timeout: time.Minute}

// The example, run.
func TestTheExample(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{reportWords})
	f.start(nil, map[string]worker.Handler{"report.words": wordCount})
	job := f.untilState(f.enqueue("report.words", `{"text":"three little words"}`, 1)[0], queue.Done)
	var result worker.Result
	if err := json.Unmarshal(job.Result, &result); err != nil || result.OutputText != "3 words" {
		t.Errorf("%s, %v", job.Result, err)
	}
}

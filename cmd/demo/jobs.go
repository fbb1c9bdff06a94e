package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	watchPause = 200 * time.Millisecond
	maxWords   = 60 // characters of an answer that are shown

	tricklePause = time.Second
	maxTrickled  = 40 // jobs that wait: more of them show nothing more
)

// samples are the jobs of the demo: each type, in both forms of payload. userId is the application's own field: it is
// kept with the job and never sent to the provider.
var samples = []sample{
	{"kb.ingest", map[string]any{
		"input": "Summarise: a sluice lets through as much water as the canal below it can take.", "userId": "demo"}},
	{"diary.entry", map[string]any{"messages": []map[string]string{
		{"role": "user", "content": "Write a diary entry about a quiet day at the lock."}}}},
	{"autopoietic.tick", map[string]any{"input": "What should the system look at next?"}},
	{"kb.ingest", map[string]any{"input": "List three facts about canals."}},
	{"diary.entry", map[string]any{"input": "One sentence about rain."}},
	{"autopoietic.tick", map[string]any{"input": "Is anything left to do?"}},
}

// showJobs enqueues the samples and prints each as it ends.
func (s *stack) showJobs() error {
	pending := make([]string, 0, len(samples))
	for _, sample := range samples {
		id, err := s.client.enqueue(s.ctx, sample)
		if err != nil {
			return err
		}
		pending = append(pending, id)
	}
	fmt.Fprintf(s.out, "\n%-16s  %-36s  %-9s  %7s  %s\n", "type", "id", "state", "seconds", "answer")
	for len(pending) > 0 {
		waiting := pending[:0]
		for _, id := range pending {
			j, err := s.client.job(s.ctx, id)
			if err != nil {
				return err
			}
			if j.FinishedAt == nil {
				waiting = append(waiting, id)
				continue
			}
			fmt.Fprintln(s.out, j.line())
		}
		pending = waiting
		if err := sleep(s.ctx, watchPause); err != nil {
			return err
		}
	}
	return nil
}

// trickle enqueues a job every second, so that the page has something to show, until Ctrl-C.
func (s *stack) trickle() {
	for i := 0; sleep(s.ctx, tricklePause) == nil; i++ {
		status, err := s.client.status(s.ctx)
		if err != nil || status.Queue.Queued+status.Queue.Delayed >= maxTrickled {
			continue
		}
		_, _ = s.client.enqueue(s.ctx, samples[i%len(samples)]) // one that fails is only one less
	}
}

// line is an ended job in one line.
func (j job) line() string {
	words := j.LastError
	if j.Result != nil {
		words = j.Result.OutputText
	}
	return fmt.Sprintf("%-16s  %-36s  %-9s  %7.1f  %s",
		j.Type, j.ID, j.State, j.FinishedAt.Sub(j.CreatedAt).Seconds(), firstWords(words))
}

// firstWords is the beginning of a text, in one line.
func firstWords(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxWords {
		return string(runes[:maxWords-1]) + "…"
	}
	return text
}

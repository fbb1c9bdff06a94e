package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// load is the work that is handed over at once: so many jobs, each with a payload of so many bytes of JSON, whose handler
// returns so many bytes.
type load struct{ jobs, payload, result int }

// lean is the usual work.
func lean(jobs int) load { return load{jobs: jobs, payload: 300, result: 100} }

// large is what a call with a long prompt and a long answer brings.
func large(jobs int) load { return load{jobs: jobs, payload: 8 << 10, result: 20 << 10} }

// prose is text to cut payloads and results from: words, which compress as texts do.
var prose = func() string {
	words := strings.Fields("the queue holds what was asked until a worker takes it and calls for an answer that may be late " +
		"or wrong because limits are shared by many who know nothing of each other while somebody waits for one more line")
	random := rand.New(rand.NewPCG(1, 1))
	var b strings.Builder
	for b.Len() < 256<<10 {
		b.WriteString(words[random.IntN(len(words))])
		fmt.Fprintf(&b, " %d ", random.IntN(1000))
	}
	return b.String()
}()

// text is n bytes of it, others for another job.
func text(job, n int) string {
	at := job * 997 % (len(prose) - n)
	return prose[at : at+n]
}

// payload is a job's JSON of that size: a prompt, as a worker of Sluice takes it.
func payload(job, size int) string {
	head := fmt.Sprintf(`{"n":%d,"input":"`, job)
	return head + text(job, max(0, size-len(head)-2)) + `"}`
}

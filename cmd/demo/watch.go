package main

import (
	"fmt"
	"strings"
	"time"
)

const statusPause = time.Second // between two looks at the status, which the API itself reads once a second

// printHints says what to try. An outage takes several jobs to be seen as one: a breaker does not open for one job that
// fails.
func (s *stack) printHints(ownDatabase bool) {
	base := s.client.base
	fmt.Fprintf(s.out, "\nOpen       %s/\n", base)
	if s.provider != "" {
		fmt.Fprintln(s.out, "           the page shows the queue, and has a switch for the provider: healthy, rate-limited, down, out of credit")
	}
	fmt.Fprintf(s.out, `
Status     %[1]s/api/ai/status
Five jobs  for i in 1 2 3 4 5; do curl -sw '\n' %[1]s/api/ai/enqueue -H 'Content-Type: application/json' \
             -d '{"type": "kb.ingest", "payload": {"input": "Hello"}}'; done
`, base)
	if s.provider != "" {
		fmt.Fprintf(s.out, `An outage  curl -s %[1]s/control -d '{"mode": "down"}'
             then five jobs: they wait, and none fails; "waiting" in %[2]s/api/ai/jobs/<id> says why and until when
Its end    curl -s %[1]s/control -d '{"mode": "healthy"}'
             the jobs go on by themselves
`, s.provider, base)
	}
	database := "$DATABASE_URL"
	if !ownDatabase {
		database = s.postgres.URL("postgres")
	}
	fmt.Fprintf(s.out, "SQL        psql \"%s\" -c 'select id, type, state from jobs'\n", database)
	fmt.Fprintf(s.out, "Logs       %s\n\nCtrl-C ends all of it. Until then, what changes:\n", s.logs)
}

// showChanges prints a line whenever the status has changed, until Ctrl-C.
func (s *stack) showChanges() {
	const columns = "  %6v  %7v  %7v  %6v  %6v  %s\n"
	fmt.Fprintf(s.out, "\n%-8s"+columns, "UTC", "queued", "delayed", "running", "done", "failed", "provider")
	for last := ""; s.ctx.Err() == nil; _ = sleep(s.ctx, statusPause) {
		status, err := s.client.status(s.ctx)
		if s.ctx.Err() != nil {
			return
		}
		q := status.Queue
		line := fmt.Sprintf(columns, q.Queued, q.Delayed, q.Running, q.Done, q.Failed, status.provider())
		if err != nil { // a database of the user's own may be away for a while
			line = "  " + firstWords(err.Error()) + "\n"
		}
		if line != last {
			fmt.Fprint(s.out, time.Now().UTC().Format(time.TimeOnly), line)
			last = line
		}
	}
}

// provider words the state of the upstreams: all that are not closed, or else that all are.
func (s status) provider() string {
	var words []string
	for _, up := range s.Upstreams {
		if up.Breaker.State != "closed" {
			words = append(words, up.words())
		}
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, "; ")
	case len(s.Upstreams) == 1:
		return s.Upstreams[0].words()
	}
	return "all breakers closed"
}

func (u upstream) words() string {
	words := u.Name + ": breaker " + u.Breaker.State
	if u.Breaker.Reason != "" {
		words += ", " + u.Breaker.Reason
	}
	if u.Breaker.State == "open" && u.Breaker.RetryAt != nil {
		words += ", next try at " + u.Breaker.RetryAt.UTC().Format(time.TimeOnly)
	}
	return words
}

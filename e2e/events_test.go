package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// One process enqueues, a worker works, and whoever watches at another process is told, up to its stop. The worker notifies
// and the process listens, which brings the looks forward that would come once a second.
func TestJobsAreWatchedAcrossProcesses(t *testing.T) {
	t.Parallel()
	s := start(t)
	port := freePort(t)
	process := s.run("api", "DATABASE_URL="+s.url, "PORT="+port)
	other := "http://127.0.0.1:" + port
	s.until("the other API is ready", func() bool {
		res, err := http.Get(other + "/readyz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})

	watched := s.enqueue("diary.entry", "hello")
	stream := s.watch(other + "/api/ai/jobs/" + watched + "/events")
	stream.tells("queued")
	s.worker()
	stream.tells("done")
	if rest, err := io.ReadAll(stream.in); err != nil || len(bytes.TrimSpace(rest)) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}

	heard := s.hear("sluice_states")
	const jobs = 20
	begun := time.Now()
	for range jobs {
		var job struct {
			State  string
			Result struct {
				OutputText string `json:"output_text"`
			}
		}
		body, err := json.Marshal(map[string]any{"type": "diary.entry", "payload": map[string]any{"input": "hello"}})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), "POST", other+"/api/ai/enqueue", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Prefer", "wait=60")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(res.Body).Decode(&job)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || job.State != "done" || job.Result.OutputText == "" {
			t.Fatalf("%s, %+v, %v", res.Status, job, err)
		}
	}
	t.Logf("%d jobs were waited for in %s", jobs, time.Since(begun)) // a second each, if nothing but the looks told of them
	if err := <-heard; err != nil {
		t.Errorf("nothing notified: %v", err)
	}
	s.until("the worker and the process that watches listen", func() bool {
		return s.count(`select count(*) from pg_stat_activity where datname = current_database() and application_name = 'sluice-listen'`) == 2
	})

	later := s.enqueueAt("diary.entry", time.Hour)
	stream = s.watch(other + "/api/ai/jobs/" + later + "/events")
	stream.tells("delayed")
	if err := process.terminate(); err != nil {
		t.Errorf("a stream kept the API from stopping: %v", err)
	}
	if rest, err := io.ReadAll(stream.in); err != nil || !strings.Contains(string(rest), "\nretry: ") {
		t.Errorf("the stream of a process that stops ends with %q, %v", rest, err)
	}
}

// hear listens from now on and tells of the first notification, or that none came.
func (s *system) hear(channel string) <-chan error {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := conn.Exec(s.t.Context(), "listen "+channel); err != nil {
		s.t.Fatal(err)
	}
	heard := make(chan error, 1)
	go func() {
		defer conn.Close(context.Background())
		ctx, cancel := context.WithTimeout(s.t.Context(), patience)
		defer cancel()
		_, err := conn.WaitForNotification(ctx)
		heard <- err
	}()
	return heard
}

type eventStream struct {
	t  *testing.T
	in *bufio.Reader
}

func (s *system) watch(url string) eventStream {
	s.t.Helper()
	res, err := http.Get(url)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		s.t.Fatal(res.Status)
	}
	return eventStream{s.t, bufio.NewReader(res.Body)}
}

// tells reads up to the state, which has to come.
func (e eventStream) tells(state string) {
	e.t.Helper()
	for {
		line, err := e.in.ReadString('\n')
		if err != nil {
			e.t.Fatalf("%v before it was %s", err, state)
		}
		data, ok := strings.CutPrefix(line, "data: ")
		var job struct{ State string }
		if ok && json.Unmarshal([]byte(data), &job) != nil {
			e.t.Fatalf("no job: %s", line)
		}
		if job.State == state {
			e.blank()
			return
		}
	}
}

// blank reads the line that ends an event.
func (e eventStream) blank() {
	if line, err := e.in.ReadString('\n'); err != nil || line != "\n" {
		e.t.Fatalf("an event ends with %q, %v", line, err)
	}
}

func (s *system) enqueueAt(jobType string, delay time.Duration) string {
	s.t.Helper()
	var made struct{ ID string }
	_, err := s.do("POST", "/api/ai/enqueue", map[string]any{
		"type": jobType, "payload": map[string]any{"input": "later"}, "delay_ms": delay.Milliseconds(),
	}, &made)
	if err != nil || made.ID == "" {
		s.t.Fatal(made, err)
	}
	return made.ID
}

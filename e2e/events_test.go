package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// One process enqueues, a worker works, and whoever watches at another process is told at once, up to its stop: workers'
// notifications bring the looks forward that would come once a second.
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
	took := time.Since(begun)
	t.Logf("%d jobs were waited for in %s", jobs, took)
	if took > jobs*time.Second*3/4 { // a second each, if nothing but the looks told of them
		t.Errorf("%d jobs took %s: nothing notified", jobs, took)
	}

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

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The independent stand-in for the provider, from npm. Our own simulator shares our reading of the API's documents; this
// one was written by others.
const referee = "@copilotkit/aimock@1.43.0"

func TestTheRefereeAgrees(t *testing.T) {
	t.Parallel()
	s := start(t)
	base := startReferee(t)
	s.worker("OPENAI_BASE_URL="+base+"/v1", "SLUICE_CONCURRENCY=4")
	const jobs = 20
	for range jobs {
		s.enqueue("diary.entry", "hello")
	}
	s.untilDone(jobs)
	if n := s.count(`select count(*) from jobs where result->>'output_text' = 'Hello from the referee'`); n != jobs {
		t.Errorf("%d jobs have the referee's words, want %d", n, jobs)
	}
	if n := s.count(`select count(*) from attempts where outcome = 'ok' and status = 200`); n != jobs {
		t.Errorf("%d ok attempts, want %d", n, jobs)
	}
}

// startReferee installs the referee in the user's cache, once, and starts it.
func startReferee(t *testing.T) (url string) {
	t.Helper()
	npm := need(t, "npm", "to install the independent provider "+referee)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "sluice", strings.NewReplacer("@", "", "/", "-").Replace(referee))
	program := filepath.Join(dir, "node_modules", ".bin", "llmock")
	if _, err := os.Stat(program); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		npmInstalls(t, dir, npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", dir, referee)
	}
	port := freePort(t)
	cmd := exec.Command(program, "--host", "127.0.0.1", "--port", port, "--fixtures", "testdata/referee.json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "listening") {
			go func() {
				for lines.Scan() { // keep the pipe empty
				}
			}()
			return fmt.Sprintf("http://127.0.0.1:%s", port)
		}
	}
	t.Fatalf("%s ended before it listened", referee)
	return ""
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// readClock is the line of Go's time.Now that reads the clock. Go reads it in the vDSO, past libc, so that libfaketime
// has nothing to hold on to: a worker with a wrong clock has to be built with one.
const readClock = "\tsec, nsec, mono := runtimeNow()\n"

// buildSkewed builds bin/worker with a wall clock that is off by this much. Its monotonic clock is true.
func buildSkewed(ctx context.Context, root, dir string, off time.Duration) (string, error) {
	out, err := output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	original := filepath.Join(strings.TrimSpace(out), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if bytes.Count(source, []byte(readClock)) == 0 {
		return "", skip("this version of Go reads the clock in another way than time.Now of Go 1.26")
	}
	path := filepath.Join(dir, fmt.Sprintf("worker%+d", int(off.Seconds())))
	changed := strings.Replace(string(source), readClock, fmt.Sprintf("%s\tsec += %d\n", readClock, int64(off.Seconds())), 1)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: path + ".time.go"}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".time.go", []byte(changed), 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(path+".json", overlay, 0o644); err != nil {
		return "", err
	}
	_, err = output(ctx, "go", "-C", root, "build", "-overlay", path+".json", "-o", path, "./cmd/worker")
	return path, err
}

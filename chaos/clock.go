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

const clockOff = "CHAOS_CLOCK_OFF" // seconds, for the skewed worker alone

// offSource is a file more of package time. It cannot import strconv, which imports it.
const offSource = `package time

import "syscall"

var chaosOff = readChaosOff()

func readChaosOff() (off int64) {
	text, _ := syscall.Getenv("` + clockOff + `")
	sign := int64(1)
	for _, c := range text {
		if c == '-' {
			sign = -1
			continue
		}
		off = 10*off + int64(c-'0')
	}
	return sign * off
}
`

const skewedWorker = "worker-skewed"

// buildSkewed builds bin/worker with a wall clock that is off by what its environment says. Its monotonic clock is true.
// It rebuilds the standard library, which takes a minute the first time.
func (r *rig) buildSkewed(ctx context.Context) error {
	out, err := output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	folder := filepath.Join(strings.TrimSpace(out), "src", "time")
	source, err := os.ReadFile(filepath.Join(folder, "time.go"))
	if err != nil {
		return err
	}
	if bytes.Count(source, []byte(readClock)) != 1 {
		return nil // another Go; the fault says so
	}
	changed := bytes.Replace(source, []byte(readClock), []byte(readClock+"\tsec += chaosOff\n"), 1)
	overlay, err := r.overlay(map[string][]byte{
		filepath.Join(folder, "time.go"):      changed,
		filepath.Join(folder, "chaos_off.go"): []byte(offSource),
	})
	if err != nil {
		return err
	}
	_, err = output(ctx, "go", "-C", r.root, "build", "-overlay", overlay, "-o", filepath.Join(r.dir, skewedWorker), "./cmd/worker")
	return err
}

// overlay writes files that stand in for others while the compiler runs, and the list of them.
func (r *rig) overlay(files map[string][]byte) (path string, err error) {
	dir := filepath.Join(r.dir, "overlay")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for original, content := range files {
		replace[original] = filepath.Join(dir, filepath.Base(original))
		if err := os.WriteFile(replace[original], content, 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// wrongClocks gives two workers clocks that are an hour ahead and an hour behind.
func wrongClocks(ctx context.Context, r *rig) (heal, error) {
	program := filepath.Join(r.dir, skewedWorker)
	if _, err := os.Stat(program); err != nil {
		return nil, skip("this version of Go reads the clock in another way than time.Now of Go 1.26")
	}
	chosen := pick(r.random, r.fleet.workers, 2)
	for i, off := range []time.Duration{time.Hour, -time.Hour} {
		r.fleet.stop(chosen[i])
		if err := r.fleet.startAs(chosen[i], program, fmt.Sprintf("%s=%d", clockOff, int64(off.Seconds()))); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) (string, error) { return names(chosen), r.fleet.roll(ctx, chosen...) }, nil
}

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell starts a shell script as a child.
func shell(t *testing.T, script string) *child {
	t.Helper()
	c, err := startChild("script", filepath.Join(t.TempDir(), "log"), os.Environ(), "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop(0) })
	return c
}

func TestChildThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	c := shell(t, "for i in $(seq 100); do echo line $i; done; echo the reason >&2; exit 3")
	err := c.wait(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"script ended (exit status 3)", "line 100\nthe reason"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n"); lines != lastLines {
		t.Errorf("%d lines; want the last %d", lines, lastLines)
	}
}

func TestStopAsksAndThenInsists(t *testing.T) {
	t.Parallel()
	polite := shell(t, "trap 'echo bye; exit 0' TERM; echo http://ready; while :; do sleep 0.01; done")
	stubborn := shell(t, "trap '' TERM; echo http://ready; while :; do sleep 0.01; done")
	for _, c := range []*child{polite, stubborn} {
		if _, err := c.url(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	polite.stop(time.Minute)
	if polite.exit != nil || !strings.HasSuffix(polite.lastWords(), "bye") {
		t.Errorf("the polite one: %v, %q", polite.exit, polite.lastWords())
	}
	stubborn.stop(time.Millisecond)
	if status := stubborn.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the stubborn one: %v; want killed", stubborn.exit)
	}
}

func TestURLIsAWholeLine(t *testing.T) {
	t.Parallel()
	c := shell(t, "echo starting; printf http://127.0.0.1:; sleep 0.1; echo 4000; exec sleep 60")
	if got, err := c.url(t.Context()); err != nil || got != "http://127.0.0.1:4000" {
		t.Errorf("got %q, %v", got, err)
	}
	silent := shell(t, "exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := silent.url(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a silent child, after Ctrl-C: %v", err)
	}
}

func TestChoosePort(t *testing.T) {
	t.Parallel()
	if port, err := choosePort("8123", defaultPort); err != nil || port != "8123" {
		t.Errorf("PORT=8123: %q, %v", port, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, usual, _ := net.SplitHostPort(taken.Addr().String())
	for range 10 { // others dial meanwhile, and may be given the port that was free a moment ago
		port, err := choosePort("", usual)
		if err != nil || port == usual {
			t.Fatalf("with the usual port taken: %q, %v", port, err)
		}
		if again, err := choosePort("", port); err == nil && again == port {
			return
		}
	}
	t.Error("a usual port that is free was not taken in ten tries")
}

func TestCloseReportsTheChildThatEnded(t *testing.T) {
	t.Parallel()
	s, err := newStack(t.Context(), func(string) string { return "" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c := shell(t, "echo broken; exit 1")
	s.children = append(s.children, c)
	s.watch(c)
	<-s.ctx.Done()
	err = errors.New("a consequence")
	s.close(&err)
	if err == nil || !strings.Contains(err.Error(), "broken") || strings.Contains(err.Error(), "consequence") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(s.logs); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestCtrlCIsNoError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := newStack(ctx, func(string) string { return "" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c := shell(t, "exec sleep 60")
	s.children = append(s.children, c)
	s.watch(c)
	cancel()
	err = errors.New("a consequence")
	s.close(&err)
	if err != nil {
		t.Errorf("got %v", err)
	}
	if c.exit == nil {
		t.Error("the child was not ended")
	}
}

func TestNoFolderForLogs(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "gone"))
	_, err := newStack(t.Context(), func(string) string { return "" }, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("%v; want one that says what to set", err)
	}
}

func TestUnexpectedArguments(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), []string{"smok"}, os.Getenv, io.Discard); err == nil {
		t.Error("no error")
	}
}

func TestFirstWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "",
		"two\n\n  lines":        "two lines",
		strings.Repeat("é", 60): strings.Repeat("é", 60),
		strings.Repeat("é", 61): strings.Repeat("é", 59) + "…",
	} {
		if got := firstWords(text); got != want {
			t.Errorf("firstWords(%q) = %q; want %q", text, got, want)
		}
	}
}

func TestProviderNamesWhatIsNotClosed(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	up := func(name, state, reason string, retryAt *time.Time) (u upstream) {
		u.Name, u.Breaker.State, u.Breaker.Reason, u.Breaker.RetryAt = name, state, reason, retryAt
		return u
	}
	for want, upstreams := range map[string][]upstream{
		"a: breaker closed":   {up("a", "closed", "", nil)},
		"all breakers closed": {up("a", "closed", "", nil), up("b", "closed", "", nil)},
		"b: breaker open, failures, next try at 02:04:05; c: breaker half-open": {
			up("a", "closed", "", nil), up("b", "open", "failures", &at), up("c", "half-open", "", &at)},
	} {
		if got := (status{Upstreams: upstreams}).provider(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"help", "-h", "--help"} {
		var out strings.Builder
		if err := run(t.Context(), []string{verb}, os.Getenv, &out); err != nil || !strings.Contains(out.String(), "demo smoke") {
			t.Errorf("%s: %v, %q", verb, err, out.String())
		}
	}
}

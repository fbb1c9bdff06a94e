package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

func TestRunServesUntilToldToStop(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-rpm", "60", "-tpm", "1000", "-error-rate", "1", "-seed", "3", "-latency", "5ms"}, write)
	}()
	url, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)

	res, err := http.Post(url+"/responses", "application/json", strings.NewReader(`{"model":"m","input":"hi"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 500 || res.Header.Get("x-ratelimit-limit-requests") != "60" {
		t.Errorf("%s %v", res.Status, res.Header)
	}

	res, err = http.Get(url + "/control")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var state llmtest.State
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	if want := (llmtest.Script{Mode: "healthy", RPM: 60, TPM: 1000, ErrorRate: 1, LatencyMS: 5}); state.Script != want {
		t.Errorf("script %+v, want %+v", state.Script, want)
	}

	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if res, err := http.Get(url + "/control"); err == nil {
		_ = res.Body.Close()
		t.Error("it still answers")
	}
}

func TestRunRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-error-rate 2":      "error_rate 2 is not between 0 and 1",
		"-mode sulking":      `unknown mode "sulking"`,
		"now":                `unexpected argument "now"; -h lists the flags`,
		"-sulk":              "flag provided but not defined: -sulk; -h lists the flags",
		"-addr 127.0.0.1:-1": "invalid port",
	} {
		err := run(t.Context(), strings.Fields(args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

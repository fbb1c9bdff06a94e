package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// The benchmark starts itself anew for each process that it needs. Which one that is stands in the environment.
const (
	roleEnv = "BENCH_ROLE"
	specEnv = "BENCH_SPEC" // what it has to know, as JSON
)

// role is what such a process does until ctx ends.
type role func(ctx context.Context, spec []byte, parent parent) error

var roles = map[string]role{
	"sluice worker": sluiceWorker,
	"river worker":  riverWorker,
	"river bulk":    riverBulk,
	"yardstick":     yardstick,
	"clients":       httpClients,
}

// self is the command of a process of ours.
func self(role string, spec any) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, specEnv+"="+string(text))
	return cmd, nil
}

// play does what the environment asks for; false: it asks for nothing, and this is the benchmark itself.
func play() (played bool, err error) {
	name := os.Getenv(roleEnv)
	if name == "" {
		return false, nil
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	p := parent{out: os.Stdout, told: make(chan struct{})}
	go func() {
		p.listen(os.Stdin)
		cancel()
	}()
	err = roles[name](ctx, []byte(os.Getenv(specEnv)), p)
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return true, err
}

// parent is the benchmark as a process of its sees it: it says "go" once, and goes away when all is over.
type parent struct {
	out  io.Writer
	told chan struct{} // closed when it said go
}

// listen returns when the parent is gone.
func (p parent) listen(in io.Reader) {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "go" {
			close(p.told)
		}
	}
}

// ready says so and waits to be told to go.
func (p parent) ready(ctx context.Context) error {
	fmt.Fprintln(p.out, "ready")
	select {
	case <-p.told:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

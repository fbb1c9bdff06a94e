package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
)

// service is a process that listens.
type service struct {
	*rig.Process
	address string
	close   func() error
}

const listenLimit = time.Minute

var listening = regexp.MustCompile(`http://(127\.0\.0\.1:\d+)`)

// serve starts a process and waits until it has said where it listens.
func serve(ctx context.Context, cmd *exec.Cmd) (service, error) {
	in, err := cmd.StdinPipe() // a process of ours ends when it is closed
	if err != nil {
		return service{}, err
	}
	p, err := rig.Start(cmd)
	if err != nil {
		return service{}, err
	}
	s := service{Process: p, close: func() error {
		_ = in.Close() // fails only if it has just ended
		p.Stop(stopLimit)
		return nil
	}}
	ctx, cancel := context.WithTimeout(ctx, listenLimit)
	defer cancel()
	found, err := p.Find(ctx, listening)
	if err != nil {
		return s, errors.Join(err, s.close())
	}
	s.address = found[1]
	return s, nil
}

// sluiceConfig has a type whose handler is Go code, and one that calls the upstream of the environment.
const sluiceConfig = `types:
  plain: {handler: custom}
  call: {upstream: openai, model: bench, policy: none}
`

// program is the command of one of Sluice's own programs.
func (b *bench) program(name string, at database, more ...string) (*exec.Cmd, error) {
	config := filepath.Join(b.dir, "config.yaml")
	if err := os.WriteFile(config, []byte(sluiceConfig), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(b.dir, name))
	cmd.Env = rig.Environ(at.url, append(more, "SLUICE_CONFIG="+config)...)
	return cmd, nil
}

// ask runs a process of ours to its end and returns what it wrote.
func ask(ctx context.Context, role string, spec any) ([]byte, error) {
	cmd, err := self(role, spec)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	p, err := rig.Start(cmd)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Ended():
	case <-ctx.Done():
		p.Stop(stopLimit)
		return nil, ctx.Err()
	}
	if err := p.Exit(); err != nil {
		return nil, fmt.Errorf("%s: %w; its last words:\n%s", role, err, p.LastWords())
	}
	return out.Bytes(), nil
}

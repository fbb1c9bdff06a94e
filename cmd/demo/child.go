package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const lastLines = 15 // of a child's log, in the error about its end

// child is a process of the demo, in a process group of its own: a Ctrl-C in the terminal reaches only us, and we end
// the children in order.
type child struct {
	name  string
	log   string // the file that it writes to
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
	exit  error         // read it after ended is closed
}

// startChild starts a program that writes to the file log.
func startChild(name, log string, env []string, path string, args ...string) (*child, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c := &child{name: name, log: log, ended: make(chan struct{})}
	c.cmd = exec.Command(path, args...)
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = env, file, file
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(c.cmd.SysProcAttr)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.exit = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// wait returns once the child has ended well, or why it has not.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
	}
	if c.exit != nil {
		return c.failure()
	}
	return nil
}

// failure describes a child that has ended.
func (c *child) failure() error {
	exit := "exit status 0"
	if c.exit != nil {
		exit = c.exit.Error()
	}
	return fmt.Errorf("%s ended (%s); its last words:\n%s", c.name, exit, c.lastWords())
}

// lastWords are the last lines that the child has written.
func (c *child) lastWords() string {
	log, _ := os.ReadFile(c.log) // without a log there are no last words
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-lastLines):], "\n")
}

// url waits until the child has written a line with its URL.
func (c *child) url(ctx context.Context) (string, error) {
	for {
		log, err := os.ReadFile(c.log)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(log)) {
			if strings.HasPrefix(line, "http://") && strings.HasSuffix(line, "\n") {
				return strings.TrimSpace(line), nil
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// stop asks the child to end, and after a while insists. It does nothing to one that has ended.
func (c *child) stop(patience time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has just ended
	select {
	case <-c.ended:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
)

const (
	readyLimit = time.Minute      // for a worker to be ready
	stallLimit = time.Minute      // without a job handled
	stopLimit  = 10 * time.Second // for a worker to end before it is killed
)

// crew is a group of worker processes that begin at one moment.
type crew struct {
	members []*member
	news    chan struct{} // something was told
}

// member is one process of a crew.
type member struct {
	*rig.Process
	in io.WriteCloser

	mu      sync.Mutex
	ready   bool
	first   time.Time // when it began its first job; zero: not yet
	handled int64
}

// hire starts n processes and waits until all of them are ready.
func hire(ctx context.Context, n int, command func() (*exec.Cmd, error)) (*crew, error) {
	c := &crew{news: make(chan struct{}, 1)}
	for range n {
		cmd, err := command()
		if err == nil {
			err = c.add(cmd)
		}
		if err != nil {
			return nil, errors.Join(err, c.stop())
		}
	}
	if err := c.until(ctx, readyLimit, c.ready); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for the workers to be ready: %w", err), c.stop())
	}
	return c, nil
}

func (c *crew) add(cmd *exec.Cmd) error {
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	told, out := io.Pipe()
	cmd.Stdout = out
	p, err := rig.Start(cmd)
	if err != nil {
		return err
	}
	m := &member{Process: p, in: in}
	c.members = append(c.members, m)
	go func() {
		for lines := bufio.NewScanner(told); lines.Scan(); c.tell() {
			m.learn(lines.Text())
		}
	}()
	go func() {
		<-p.Ended()
		_ = out.Close() // never fails
		c.tell()
	}()
	return nil
}

func (c *crew) tell() {
	select {
	case c.news <- struct{}{}:
	default: // is known to be there
	}
}

// learn takes a line that the process wrote.
func (m *member) learn(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	n, _ := strconv.ParseInt(rest, 10, 64) // a line without a number says none
	switch word {
	case "ready":
		m.ready = true
	case "first":
		m.first = time.Unix(0, n)
	case "handled":
		m.handled = n
	}
}

// until waits for something that the workers tell; it fails when one of them ends, or when nothing is told for so long.
func (c *crew) until(ctx context.Context, patience time.Duration, done func() bool) error {
	for !done() {
		if err := c.alive(); err != nil {
			return err
		}
		select {
		case <-c.news:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
			return fmt.Errorf("nothing happened for %v; the last words of the first:\n%s", patience, c.members[0].LastWords())
		}
	}
	return nil
}

func (c *crew) alive() error {
	for _, m := range c.members {
		select {
		case <-m.Ended():
			return fmt.Errorf("a worker ended (%v); its last words:\n%s", m.Exit(), m.LastWords())
		default:
		}
	}
	return nil
}

func (c *crew) ready() bool {
	for _, m := range c.members {
		m.mu.Lock()
		ready := m.ready
		m.mu.Unlock()
		if !ready {
			return false
		}
	}
	return true
}

// begin tells all to go.
func (c *crew) begin() error {
	for _, m := range c.members {
		if _, err := io.WriteString(m.in, "go\n"); err != nil {
			return fmt.Errorf("a worker does not listen: %w", err)
		}
	}
	return nil
}

// handled is how many jobs all of them have begun.
func (c *crew) handled() (n int64) {
	for _, m := range c.members {
		m.mu.Lock()
		n += m.handled
		m.mu.Unlock()
	}
	return n
}

// first is when the first job began.
func (c *crew) first() (first time.Time) {
	for _, m := range c.members {
		m.mu.Lock()
		if !m.first.IsZero() && (first.IsZero() || m.first.Before(first)) {
			first = m.first
		}
		m.mu.Unlock()
	}
	return first
}

func (c *crew) pids() []int {
	var pids []int
	for _, m := range c.members {
		pids = append(pids, m.PID())
	}
	return pids
}

// stop ends all of them.
func (c *crew) stop() error {
	var all sync.WaitGroup
	for _, m := range c.members {
		all.Go(func() {
			_ = m.in.Close() // fails only if it has just ended
			m.Stop(stopLimit)
		})
	}
	all.Wait()
	return nil
}

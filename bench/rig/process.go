package rig

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// Process is a running program that ends with the benchmark.
type Process struct {
	cmd   *exec.Cmd
	words lastWords
	ended chan struct{} // closed when it has ended
	exit  error         // read it after ended is closed
}

// Start starts a program. Its last words are kept, but for the output that the caller gave a writer of its own.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, words: lastWords{news: make(chan struct{}, 1)}, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.words
	}
	cmd.Stderr = &p.words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C reaches only us, and we end it
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.exit = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// PID is the system's number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Exit is why it ended, and nil while it runs or if it ended well.
func (p *Process) Exit() error {
	select {
	case <-p.ended:
		return p.exit
	default:
		return nil
	}
}

// LastWords is the end of what it wrote.
func (p *Process) LastWords() string { return p.words.String() }

// Find waits until the process has written something that matches, and returns the submatches. One caller at a time.
func (p *Process) Find(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		if found := pattern.FindStringSubmatch(p.LastWords()); found != nil {
			return found, nil
		}
		select {
		case <-p.words.news:
		case <-p.ended:
			return nil, fmt.Errorf("%s ended (%v); its last words:\n%s", p.cmd.Path, p.exit, p.LastWords())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s has not said %v: %w; its last words:\n%s", p.cmd.Path, pattern, ctx.Err(), p.LastWords())
		}
	}
}

// Stop asks the process to end and kills it when patience is over.
func (p *Process) Stop(patience time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has just ended
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// lastWords keeps the end of a log.
type lastWords struct {
	mu   sync.Mutex
	end  []byte
	news chan struct{} // it has grown
}

const maxWords = 4 << 10

func (w *lastWords) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end = append(w.end, b...)
	w.end = w.end[max(0, len(w.end)-maxWords):]
	select {
	case w.news <- struct{}{}:
	default: // is known already
	}
	return len(b), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.end)
}

package rig

import (
	"os/exec"
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
	p := &Process{cmd: cmd, ended: make(chan struct{})}
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
	mu  sync.Mutex
	end []byte
}

const maxWords = 4 << 10

func (w *lastWords) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end = append(w.end, b...)
	w.end = w.end[max(0, len(w.end)-maxWords):]
	return len(b), nil
}

func (w *lastWords) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.end)
}

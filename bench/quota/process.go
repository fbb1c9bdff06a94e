package main

import (
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a running worker.
type process struct {
	cmd   *exec.Cmd
	words lastWords
	ended chan struct{} // closed when it has ended
	exit  error         // read it after ended is closed
}

func startWorker(path string, env []string) (*process, error) {
	p := &process{cmd: exec.Command(path), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, &p.words, &p.words
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C reaches only us, and we end it
	dieWithParent(p.cmd.SysProcAttr)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) stop(patience time.Duration) {
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

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// process is one of Sluice's programs, or PgBouncer, with its log in a file.
type process struct {
	name  string
	cmd   *exec.Cmd
	told  atomic.Bool   // to end, or killed by us
	ended chan struct{} // closed when it has ended
	exit  error         // read it after ended is closed
}

// launch starts it in a process group of its own, so that a Ctrl-C reaches only us, and has the kernel kill it if we die.
func launch(name, log string, cmd *exec.Cmd) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
	p := &process{name: name, cmd: cmd, ended: make(chan struct{})}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// start forks on a thread that lives as long as the child: its parent is a thread, to the kernel, and Go may end one that
// no goroutine holds.
func (p *process) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.exit = p.cmd.Wait()
		}
	}()
	return <-started
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) } // fails only if it has just ended

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends it without a warning, stopped or not.
func (p *process) kill() {
	p.told.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// terminate asks it to stop, and tells whether it did so well and in time.
func (p *process) terminate(patience time.Duration) error {
	if p.told.Swap(true) {
		<-p.ended
		return nil
	}
	p.signal(syscall.SIGTERM)
	if !p.endsWithin(patience) {
		p.kill()
		return fmt.Errorf("%s (pid %d) was told to stop and still ran %v later", p.name, p.pid(), patience)
	}
	if p.exit != nil {
		return fmt.Errorf("%s (pid %d) was told to stop and ended with %w", p.name, p.pid(), p.exit)
	}
	return nil
}

// endsWithin waits for its end, in steps: a machine that stands still for long takes but one of them.
func (p *process) endsWithin(patience time.Duration) bool {
	for ; patience > 0; patience -= vigilEvery {
		select {
		case <-p.ended:
			return true
		case <-time.After(vigilEvery):
		}
	}
	return !p.alive()
}

// unasked tells that it has ended by itself, and how.
func (p *process) unasked() error {
	if p.alive() || p.told.Load() {
		return nil
	}
	how := p.exit
	if how == nil {
		how = errors.New("exit status 0")
	}
	return fmt.Errorf("%s (pid %d) ended by itself: %w", p.name, p.pid(), how)
}

// Command demo runs the whole of Sluice on this machine with nothing configured: PostgreSQL, a simulated provider, the
// API and two workers, and shows a few jobs going through.
//
//	demo         stays up until Ctrl-C
//	demo smoke   PostgreSQL and the API alone: enqueues one job, shows the queue, and ends
//
// DATABASE_URL, OPENAI_API_KEY and PORT, where they are set, take the place of the private database, the simulated
// provider and port 3000. Everything listens on the loopback address alone. Nothing is left behind: processes are ended
// and temporary folders removed, and a demo that is killed takes its processes with it (on Linux).
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	// The kernel ends the children when the thread that started them ends: this goroutine keeps one to itself, for as
	// long as the process lives, and starts them all.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second Ctrl-C ends the demo at once, but not one within a second: timeout(1) and other parents send the first one twice.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

const usage = `usage: demo         the whole of Sluice on this machine, until Ctrl-C
       demo smoke   PostgreSQL and the API alone: enqueues one job, shows the queue, and ends

DATABASE_URL, OPENAI_API_KEY and PORT, where they are set, take the place of the private database (not of smoke's), the
simulated provider and port 3000.
`

func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	switch strings.Join(args, " ") {
	case "":
		return demo(ctx, env, out)
	case "smoke":
		return smoke(ctx, env, out)
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(out, usage)
		return err
	default:
		return fmt.Errorf("unexpected arguments %q: it takes none, smoke, or help", args)
	}
}

const workers = 2

// demo brings everything up, shows a few jobs and then what changes, until ctx's end, which is success.
func demo(ctx context.Context, env func(string) string, out io.Writer) (err error) {
	s, err := newStack(ctx, env, out)
	if err != nil {
		return err
	}
	defer s.close(&err)
	database := env("DATABASE_URL")
	if err := s.startDatabase(database); err != nil {
		return err
	}
	if err := s.startProvider(); err != nil {
		return err
	}
	if err := s.startAPI(); err != nil {
		return err
	}
	if err := s.startWorkers(workers); err != nil {
		return err
	}
	if err := s.showJobs(); err != nil {
		return err
	}
	s.printHints(database != "")
	if s.provider != "" && database == "" {
		go s.trickle() // it ends with the context
	}
	s.showChanges()
	fmt.Fprintln(out, "\nstopping")
	return nil
}

// smoke shows that a job is taken without any provider, and ends.
func smoke(ctx context.Context, env func(string) string, out io.Writer) (err error) {
	s, err := newStack(ctx, env, out)
	if err != nil {
		return err
	}
	defer s.close(&err)
	if err := s.startDatabase(""); err != nil {
		return err
	}
	if err := s.startAPI(); err != nil {
		return err
	}
	id, err := s.client.enqueue(s.ctx, samples[0])
	if err != nil {
		return err
	}
	counts, err := s.client.counts(s.ctx)
	if err != nil {
		return err
	}
	s.say("job", "%s, %s", id, samples[0].Type)
	s.say("queue", "%s", counts)
	return nil
}

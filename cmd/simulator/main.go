// Command simulator serves a provider to try Sluice against: OpenAI's Responses API over HTTP on the loopback, with
// limits, latency and failures that can be changed while it runs (POST /control).
//
// It prints its URL as the first line on stdout once it listens, and ends cleanly on SIGTERM or an interrupt, breaking
// off the calls in flight. It understands no language and must face no network.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	server, err := llmtest.Listen(c.addr, llmtest.WithSeed(c.seed), llmtest.ServePages(c.pages...))
	if err != nil {
		return err
	}
	if err := server.Change(c.script); err != nil {
		return errors.Join(err, server.Close())
	}
	if _, err := fmt.Fprintln(out, server.URL()); err != nil {
		return errors.Join(err, server.Close())
	}
	return server.Wait(ctx)
}

type config struct {
	addr   string
	seed   uint64
	pages  []string
	script llmtest.Script
}

func parse(args []string) (config, error) {
	var c config
	flags := flag.NewFlagSet("simulator", flag.ContinueOnError)
	flags.StringVar(&c.addr, "addr", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	port := flags.Int("port", 0, "port on 127.0.0.1, instead of -addr")
	flags.Uint64Var(&c.seed, "seed", 1, "of random errors and jitter")
	flags.Int64Var(&c.script.RPM, "rpm", 0, "requests per minute and model; 0 is no limit")
	flags.Int64Var(&c.script.TPM, "tpm", 0, "tokens per minute and model; 0 is no limit")
	flags.Float64Var(&c.script.ErrorRate, "error-rate", 0, "fraction of calls that end with a 500, 0 to 1")
	flags.StringVar(&c.script.Mode, "mode", "healthy", "what happens to every call")
	latency := flags.Duration("latency", 0, "before the first byte of an answer")
	jitter := flags.Duration("jitter", 0, "at most this much more latency")
	flags.Func("page", "origin of web pages that may switch the mode; may be given again", func(origin string) error {
		c.pages = append(c.pages, origin)
		return nil
	})
	flags.SetOutput(io.Discard) // main tells what is wrong, once
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stderr)
		flags.Usage()
		return c, err
	case err != nil:
		return c, fmt.Errorf("%w; -h lists the flags", err)
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q; -h lists the flags", flags.Arg(0))
	}
	if *port != 0 {
		c.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(*port))
	}
	c.script.LatencyMS = int64(*latency / time.Millisecond)
	c.script.JitterMS = int64(*jitter / time.Millisecond)
	return c, nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/key"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
)

const keyUsage = `usage: api key create -name NAME [-tenant TENANT] [-scopes SCOPES] [-expires WHEN]
       api key list [-tenant TENANT] [-json]
       api key revoke ID...

API keys, which the API asks for under SLUICE_AUTH=required. They are in the database of DATABASE_URL.

  create  makes a key and prints it, alone, on standard output; all else is on standard error. It is shown this once.
  list    shows all keys, or a tenant's. Of a key's secret nothing is kept that could be shown.
  revoke  ends keys for good, within two seconds everywhere. An id is the part of a key after sluice_; the whole key does too.

Scopes: enqueue  post jobs
        read     see jobs, their results, and the state of queue and upstreams
        operate  cancel and retry jobs; includes read
        admin    everything, and alone what is the whole fleet's: pause and resume upstreams, /metrics
`

// keys is api key: whatever has to do with API keys.
func keys(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	verbs := map[string]func(args []string, out io.Writer) (action, error){"create": create, "list": list, "revoke": revoke}
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch parse := verbs[verb]; {
	case verb == "" || verb == "help" || verb == "-h" || verb == "-help" || verb == "--help":
		_, err := io.WriteString(stdout, keyUsage)
		return err
	case parse == nil:
		return fmt.Errorf("key: %q is none of create, list, revoke, help", verb)
	default:
		act, err := parse(args[1:], stdout)
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", verb, err)
		}
		return withKeys(ctx, environ, func(store *key.Store) error { return act(ctx, store, stdout, stderr) })
	}
}

// action is what is to be done once the arguments are known to be right.
type action func(ctx context.Context, store *key.Store, stdout, stderr io.Writer) error

func withKeys(ctx context.Context, environ []string, do func(*key.Store) error) error {
	cfg, err := config.API(config.Environ(environ))
	if err != nil {
		return err
	}
	db, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := pg.Migrated(ctx, db); err != nil {
		return err
	}
	return do(key.NewStore(db))
}

// parse reads flags and gives what follows them. Asked for help, it prints it.
func parse(flags *flag.FlagSet, args []string, help io.Writer) ([]string, error) {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(help, "%s\nFlags of %s:\n", keyUsage, flags.Name())
		flags.SetOutput(help)
		flags.PrintDefaults()
	}
	return flags.Args(), err
}

func create(args []string, help io.Writer) (action, error) {
	flags := flag.NewFlagSet("create", flag.ContinueOnError)
	name := flags.String("name", "", "who uses the key, and where: what you will look for when you wonder whether it is still needed")
	tenant := flags.String("tenant", queue.DefaultTenant, "whose jobs it sees")
	scopes := flags.String("scopes", "enqueue,read", "what it may do: enqueue, read, operate, admin, comma-separated")
	expires := flags.String("expires", "", "when it stops working: after so long (15m, 12h, 90d), or at a time (2027-01-31T00:00:00Z); never by default")
	rest, err := parse(flags, args, help)
	if err != nil {
		return nil, err
	}
	order := key.Order{Tenant: *tenant, Name: *name}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%q is no flag", rest[0])
	}
	if *name == "" {
		return nil, errors.New("-name is required")
	}
	if order.Scopes, err = key.ParseScopes(*scopes); err != nil {
		return nil, fmt.Errorf("-scopes: %w", err)
	}
	if order.ExpiresIn, order.ExpiresAt, err = expiry(*expires); err != nil {
		return nil, fmt.Errorf("-expires: %w", err)
	}
	return func(ctx context.Context, store *key.Store, stdout, stderr io.Writer) error {
		k, text, err := store.Create(ctx, order)
		if err != nil {
			return err
		}
		fmt.Fprintf(stderr, "Key %s of tenant %s: %s (%s), expires %s. It is shown this once:\n", k.ID, k.Tenant, k.Name, join(k.Scopes), when(k.ExpiresAt))
		_, err = fmt.Fprintln(stdout, text)
		return err
	}, nil
}

// expiry reads how long from now, or a time; neither is never.
func expiry(text string) (in time.Duration, at time.Time, err error) {
	if text == "" {
		return 0, at, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		in = time.Duration(n) * 24 * time.Hour
		if err == nil && in > 0 {
			return in, at, nil
		}
	}
	if in, err := time.ParseDuration(text); err == nil && in > 0 {
		return in, at, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && !at.IsZero() { // zero would be never
		return 0, at, nil
	}
	return 0, at, fmt.Errorf("%q must be a time to come as in 15m, 12h, 90d or 2027-01-31T00:00:00Z", text)
}

func list(args []string, help io.Writer) (action, error) {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	tenant := flags.String("tenant", "", "only this tenant's keys")
	asJSON := flags.Bool("json", false, "as JSON, for scripts")
	rest, err := parse(flags, args, help)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%q is no flag", rest[0])
	}
	return func(ctx context.Context, store *key.Store, stdout, _ io.Writer) error {
		keys, err := store.List(ctx, *tenant)
		if err != nil {
			return err
		}
		if *asJSON {
			encoder := json.NewEncoder(stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(append([]key.Key{}, keys...)) // [] where there are none
		}
		return table(stdout, keys)
	}, nil
}

func table(out io.Writer, keys []key.Key) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTENANT\tNAME\tSCOPES\tSTATE\tCREATED\tEXPIRES\tLAST USED")
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(k.ID), printable(k.Tenant), printable(k.Name), join(k.Scopes), k.State, when(&k.CreatedAt), when(k.ExpiresAt), when(k.LastUsedAt))
	}
	return w.Flush()
}

// printable keeps a name that somebody wrote by SQL from doing something to a terminal.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if quoted == `"`+text+`"` {
		return text
	}
	return quoted
}

func revoke(args []string, help io.Writer) (action, error) {
	ids, err := parse(flag.NewFlagSet("revoke", flag.ContinueOnError), args, help)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, errors.New("give the id of a key; `api key list` shows them")
	}
	return func(ctx context.Context, store *key.Store, _, stderr io.Writer) error {
		for _, id := range ids {
			if parsed, _, ok := key.Parse(id); ok {
				id = parsed
			}
			k, err := store.Revoke(ctx, id)
			if errors.Is(err, key.ErrNotFound) {
				return fmt.Errorf("key revoke: %w: %s", err, printable(id[:min(len(id), 16)]))
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(stderr, "Key %s of tenant %s (%s) is revoked: it stops working within %s.\n", k.ID, printable(k.Tenant), printable(k.Name), key.FreshFor)
		}
		return nil
	}, nil
}

func join(scopes []key.Scope) string {
	words := make([]string, len(scopes))
	for i, s := range scopes {
		words[i] = string(s)
	}
	return strings.Join(words, ",")
}

func when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

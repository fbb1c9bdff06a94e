package config

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// Shared is what the API and the workers both read.
type Shared struct {
	DatabaseURL Secret
	// DirectDatabaseURL is for migrations and LISTEN, which a pooler in between
	// does not carry. It is DatabaseURL where none is set.
	DirectDatabaseURL Secret
	Types             jobtype.Set
	// TypesVersion is the file's "version", 0 where it has none: of two processes
	// with different types, the higher version's are stored.
	TypesVersion int64
	Upstreams    map[string]Upstream       // by configured name
	Webhooks     map[string]TenantWebhooks // by tenant
	AdminAddr    string                    // host:port, "" is off
	LogLevel     slog.Level
}

// Upstream is a configured upstream: a provider and a credential.
type Upstream struct {
	Name      string
	Kind      string // "openai": anything that serves its Responses API
	BaseURL   string // "" is the SDK's own
	APIKeyEnv string // the name of the variable that holds the key, "" where none does
	APIKey    Secret // resolved for workers alone
}

// TenantWebhooks is where and with what a tenant is told that its jobs have ended.
type TenantWebhooks struct {
	URL       string // "" is none: only where a job names its own
	SecretEnv string // the name of the variable that holds the secrets, "" where none does
	Secrets   Secret // resolved for workers alone; "": everybody's
}

// Values of SLUICE_AUTH.
const (
	AuthRequired = "required"
	AuthOff      = "off"
)

// APIConfig is the configuration of cmd/api.
type APIConfig struct {
	Shared
	Host        string
	Port        int      // 0 takes any free port
	Auth        string   // AuthRequired or AuthOff
	CORSOrigins []string // empty: none
	MaxQueued   int      // jobs of one tenant that may wait; 0: any number
	RateLimit   int      // requests of one key in a second; 0: any number
	// DemoSimulator is the URL of the demo's provider; "": there is none.
	DemoSimulator string
}

// WorkerConfig is the configuration of cmd/worker.
type WorkerConfig struct {
	Shared
	Concurrency       int           // calls in flight
	DeathAfter        time.Duration // of a heartbeat that stands still
	DrainLimit        time.Duration // of a stop
	HoldProbeInterval time.Duration // of upstreams that are held
	UpstreamShare     float64       // of the slots, for one upstream; 0: decide by their number
	WebhookSecrets    Secret        // of tenants without their own; "": there is none
	WebhookHosts      []string      // that jobs may name
	WebhookNetworks   []string      // inside the network that may be reached
}

// API reads the API's configuration. The error is an *Error with all mistakes.
func API(env Env) (APIConfig, error) {
	r := &reader{env: env}
	shared, own := r.everyone()
	cfg := APIConfig{Shared: shared, Port: port.read(r), Host: own.host, Auth: own.auth, CORSOrigins: own.corsOrigins, MaxQueued: own.maxQueued, RateLimit: own.rateLimit, DemoSimulator: own.demoSimulator}
	if cfg.Auth == noFallback {
		cfg.Auth = AuthOff
		if _, given := r.lookup(auth.Name); !given && !isLoopback(cfg.Host) {
			r.wrong.add(auth.Name, "is not set, and others can reach %s: set it to %s, or to %s if everyone who reaches this address may do everything",
				cfg.Host, AuthRequired, AuthOff)
		}
	}
	if cfg.Auth == AuthOff && cfg.RateLimit > 0 {
		r.wrong.add(rateLimit.Name, "is set, but without API keys there is nobody to count by: set %s to %s as well", auth.Name, AuthRequired)
	}
	return cfg, r.wrong.err()
}

// Worker reads a worker's configuration, the upstreams' keys included. The error
// is an *Error with all mistakes.
func Worker(env Env) (WorkerConfig, error) {
	r := &reader{env: env}
	shared, own := r.everyone()
	own.worker.Shared = shared
	r.keys(shared)
	r.webhookSecrets(shared, own.worker.WebhookSecrets)
	return own.worker, r.wrong.err()
}

// own is what one kind of process reads.
type own struct {
	host, auth    string
	corsOrigins   []string
	maxQueued     int
	rateLimit     int
	demoSimulator string
	worker        WorkerConfig
}

// everyone reads all names that begin with SLUICE_, whichever process this is:
// processes are given the same environment, and a mistake in it should not wait
// for the one that cares. Other names are not ours alone, so only those who need
// them read them.
func (r *reader) everyone() (Shared, own) {
	shared := Shared{
		DatabaseURL:       databaseURL.read(r),
		DirectDatabaseURL: directDatabaseURL.read(r),
		AdminAddr:         adminAddr.read(r),
	}
	_ = shared.LogLevel.UnmarshalText([]byte(logLevel.read(r))) // it is one of those that are allowed
	if !r.anySet(databaseURL.Name, databaseURL.Name+fileSuffix) {
		r.wrong.add(databaseURL.Name, "is not set, must be %s", databaseURL.Allowed)
	}
	if shared.DirectDatabaseURL == "" {
		shared.DirectDatabaseURL = shared.DatabaseURL
	}
	own := own{
		host: host.read(r), auth: auth.read(r), corsOrigins: corsOrigins.read(r), maxQueued: maxQueued.read(r), rateLimit: rateLimit.read(r), demoSimulator: demoSimulator.read(r),
		worker: WorkerConfig{
			Concurrency: concurrency.read(r), DeathAfter: deathAfter.read(r), DrainLimit: drainLimit.read(r),
			HoldProbeInterval: holdProbeInterval.read(r), UpstreamShare: upstreamShare.read(r),
			WebhookHosts: webhookHosts.read(r), WebhookNetworks: webhookNetworks.read(r),
			WebhookSecrets: webhookSecret.read(r),
		},
	}
	r.file(&shared)
	r.unknown()
	return shared, own
}

func (r *reader) anySet(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := r.lookup(name); return ok })
}

// keyOfLoopback is sent to a provider on this machine that was given no key: the
// SDK insists on one, local servers and simulators do not look at it.
const keyOfLoopback = "no-key"

// keys resolves the keys of the upstreams that types use, and the base URL of the
// built-in one.
func (r *reader) keys(shared Shared) {
	used := map[string]string{} // by the name of the upstream: the first type on it
	for _, t := range shared.Types.All() {
		if _, ok := used[t.Upstream]; !ok && !t.Custom {
			used[t.Upstream] = t.Name
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shared.Upstreams)) {
		u := shared.Upstreams[name]
		if name == jobtype.BuiltinUpstream && u.BaseURL == "" {
			u.BaseURL = openAIBaseURL.read(r)
		}
		u.APIKey = r.key(u, used[name])
		shared.Upstreams[name] = u
	}
}

// webhookSecrets resolves the tenants' own. An endpoint that nothing could be signed for is a mistake.
func (r *reader) webhookSecrets(shared Shared, fallback Secret) {
	for _, tenant := range slices.Sorted(maps.Keys(shared.Webhooks)) {
		w := shared.Webhooks[tenant]
		switch {
		case w.SecretEnv == "" && fallback == "" && w.URL != "":
			r.wrong.add("webhooks."+tenant+".secret_env", "is not set, and neither is %s: nothing is sent unsigned", webhookSecret.Name)
		case w.SecretEnv == "":
		case !r.anySet(w.SecretEnv, w.SecretEnv+fileSuffix):
			r.wrong.add(w.SecretEnv, "is not set, but signs the webhooks of the tenant %s: set it to %s, or %s to a file that holds them",
				tenant, allowedWebhookSecret, w.SecretEnv+fileSuffix)
		default:
			setting := webhookSecret
			setting.Name = w.SecretEnv
			w.Secrets = setting.read(r)
			shared.Webhooks[tenant] = w
		}
	}
}

// key returns the key of an upstream that a type uses ("": none does).
func (r *reader) key(u Upstream, usedBy string) Secret {
	if u.APIKeyEnv != "" && r.anySet(u.APIKeyEnv, u.APIKeyEnv+fileSuffix) {
		setting := openAIKey
		setting.Name = u.APIKeyEnv
		return setting.read(r)
	}
	switch {
	case usedBy == "":
		return ""
	case onLoopback(u.BaseURL):
		return keyOfLoopback
	case u.APIKeyEnv == "":
		r.wrong.add("upstreams."+u.Name+".api_key_env", "is not set, but type %s uses the upstream: name the variable that holds its API key", usedBy)
	default:
		r.wrong.add(u.APIKeyEnv, "is not set, but type %s uses the upstream %s: set it to the provider's API key, or %s to a file that holds the key",
			usedBy, u.Name, u.APIKeyEnv+fileSuffix)
	}
	return ""
}

package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// Setting describes one setting, for the README's table and for --help.
type Setting struct {
	Name    string // of the environment variable, or the path of a key in the file
	Of      string // the process that reads it: "both", "api" or "worker"
	Default string // "" is none
	Allowed string
	Meaning string
	Secret  bool // it can also come from a file, by NAME_FILE
}

// typed is a setting with its value's type. The declaration of a setting is the
// only place that knows its default and its bounds.
type typed[T any] struct {
	Setting
	fallback T
	parse    func(string) (T, bool)
}

// read returns the value, or the default where none is set or it is wrong.
func (s typed[T]) read(r *reader) T {
	var text string
	var ok bool
	if s.Secret {
		text, ok = r.secret(s.Name)
	} else {
		text, ok = r.lookup(s.Name)
	}
	if !ok || s.Secret && text == "" { // the latter: it was wrong, and that is said
		return s.fallback
	}
	value, ok := s.parse(text)
	switch {
	case ok:
		return value
	case s.Secret:
		r.wrong.add(s.Name, "must be %s (its value is secret and not shown)", s.Allowed)
	default:
		r.wrong.add(s.Name, "is %s, must be %s", show(text), s.Allowed)
	}
	return s.fallback
}

// The processes that read a setting.
const (
	both       = "both"
	ofAPI      = "api"
	ofWorker   = "worker"
	noFallback = ""
)

var (
	databaseURL = secret("DATABASE_URL", both, "a PostgreSQL URL, postgres://user:password@host:5432/database, or key=value pairs",
		"PostgreSQL 15 or newer; required; search_path in it is honoured", isDatabaseURL)
	directDatabaseURL = secret("SLUICE_DIRECT_DATABASE_URL", both, databaseURL.Allowed,
		"the same database without a pooler in between, for migrations and for LISTEN (DATABASE_URL)", isDatabaseURL)
	port        = whole("PORT", ofAPI, 3000, 0, 65535, "where the API listens; 0 takes any free port")
	host        = text("SLUICE_HOST", ofAPI, "127.0.0.1", "an address or a host name, without a port", "where the API listens", isHost)
	auth        = text("SLUICE_AUTH", ofAPI, noFallback, "required or off", "whether requests need an API key; off by default on a loopback address alone, elsewhere it has to be set", isAuth)
	corsOrigins = listOf("SLUICE_CORS_ORIGINS", ofAPI, "origins such as https://app.example.com, comma-separated, without a path; * is not one", "origins whose pages may call the API", isOrigin)

	maxQueued = whole("SLUICE_MAX_QUEUED", ofAPI, 0, 0, 100_000_000, "jobs of one tenant that may wait (queued and delayed) at once: beyond it an enqueue is answered with 429 and stores nothing; 0: any number. Of several API processes each may go over it by what the others stored in the last second; enqueue_job() and retries by hand are not held to it")

	rateLimit = whole("SLUICE_RATE_LIMIT", ofAPI, 0, 0, 100_000, "requests that one API key may make in a second: beyond it they are answered with 429 and do nothing; 0: any number. Each API process counts by itself, so several let several times as many pass; needs SLUICE_AUTH=required")

	demoSimulator = text("SLUICE_DEMO_SIMULATOR", ofAPI, noFallback, "the http URL of a server on a loopback address, such as http://127.0.0.1:4000, without a path", "the demo's simulated provider, for which the page gets a switch; set by make demo alone", isLoopbackOrigin)

	openAIKey     = secret("OPENAI_API_KEY", ofWorker, "one line of printable ASCII", "key of the built-in upstream openai", isKey)
	openAIBaseURL = text("OPENAI_BASE_URL", ofWorker, noFallback, allowedBaseURL, "base URL of the built-in upstream openai (the SDK's own)", isBaseURL)
	openAIModel   = text("OPENAI_MODEL", both, jobtype.BuiltinModel, "a model's name", "model of the types on the built-in upstream openai that name none", isModel)

	configFile = text("SLUICE_CONFIG", both, noFallback, "a readable YAML file", "the file with upstreams, policies and types (built in: three types on openai)", anyText)
	logLevel   = text("SLUICE_LOG_LEVEL", both, "info", "debug, info, warn or error", "the least that is logged, as JSON unless it goes to a terminal; never a payload, a result or a secret", isLevel)
	adminAddr  = text("SLUICE_ADMIN_ADDR", both, noFallback, "host:port, such as 127.0.0.1:9090", "serves /metrics, /livez, /readyz and pprof; off where not set", isAddr)

	concurrency       = whole("SLUICE_CONCURRENCY", ofWorker, 100, 1, 10_000, "calls in flight of one worker")
	deathAfter        = duration("SLUICE_DEATH_AFTER", ofWorker, 30*time.Second, 3*time.Second, 10*time.Minute, "how long a worker's heartbeat must stand still before its jobs are given to others")
	drainLimit        = duration("SLUICE_DRAIN_LIMIT", ofWorker, 25*time.Second, 0, time.Hour, "how long a worker that is told to stop waits for its calls before it gives the jobs back")
	holdProbeInterval = duration("SLUICE_HOLD_PROBE_INTERVAL", ofWorker, 2*time.Minute, time.Second, 24*time.Hour, "how often an upstream is probed that is held for its account, credentials or configuration, and a key tried again that is refused while another one is accepted")
	upstreamShare     = share("SLUICE_UPSTREAM_SHARE", ofWorker, "the part of a worker's slots that one upstream may hold, so that calls that hang cannot fill it; 0: half, or all where there is one upstream")

	webhookSecret   = secret("SLUICE_WEBHOOK_SECRET", ofWorker, allowedWebhookSecret, "signs webhooks of tenants without a secret of their own; each secret signs, so that they can be rotated. Without any nothing is sent", isWebhookSecret)
	webhookHosts    = listOf("SLUICE_WEBHOOK_HOSTS", ofWorker, "names, *.names or *, comma-separated, each with a port or for 80 and 443", "hosts that a job's callback_url may name; where not set, none", isHostPattern)
	webhookNetworks = listOf("SLUICE_WEBHOOK_NETWORKS", ofWorker, "networks such as 10.1.0.0/16, comma-separated", "networks inside yours that webhooks may reach, besides the public internet", isNetwork)
)

// environment lists the settings in the order of the table.
var environment = []Setting{
	databaseURL.Setting, directDatabaseURL.Setting, configFile.Setting, adminAddr.Setting, logLevel.Setting,
	port.Setting, host.Setting, auth.Setting, corsOrigins.Setting, maxQueued.Setting, rateLimit.Setting, demoSimulator.Setting,
	openAIKey.Setting, openAIBaseURL.Setting, openAIModel.Setting,
	concurrency.Setting, deathAfter.Setting, drainLimit.Setting, holdProbeInterval.Setting, upstreamShare.Setting,
	webhookSecret.Setting, webhookHosts.Setting, webhookNetworks.Setting,
}

func isSetting(name string) bool {
	return slices.ContainsFunc(environment, func(s Setting) bool {
		return s.Name == name || s.Secret && s.Name+fileSuffix == name
	})
}

// ownNames are the settings whose names begin with ownPrefix, sorted.
func ownNames() []string {
	var names []string
	for _, s := range environment {
		if strings.HasPrefix(s.Name, ownPrefix) {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Constructors of settings by the type of their value.

func text(name, of, fallback, allowed, meaning string, ok func(string) bool) typed[string] {
	return typed[string]{
		Setting:  Setting{Name: name, Of: of, Default: fallback, Allowed: allowed, Meaning: meaning},
		fallback: fallback,
		parse:    func(s string) (string, bool) { return s, ok(s) },
	}
}

func secret(name, of, allowed, meaning string, ok func(string) bool) typed[Secret] {
	return typed[Secret]{
		Setting: Setting{Name: name, Of: of, Allowed: allowed, Meaning: meaning, Secret: true},
		parse:   func(s string) (Secret, bool) { return Secret(s), ok(s) },
	}
}

func whole(name, of string, fallback, least, most int, meaning string) typed[int] {
	return typed[int]{
		Setting:  Setting{Name: name, Of: of, Default: strconv.Itoa(fallback), Allowed: fmt.Sprintf("%d to %d", least, most), Meaning: meaning},
		fallback: fallback,
		parse: func(s string) (int, bool) {
			n, err := strconv.Atoi(s)
			return n, err == nil && n >= least && n <= most
		},
	}
}

func duration(name, of string, fallback, least, most time.Duration, meaning string) typed[time.Duration] {
	return typed[time.Duration]{
		Setting:  Setting{Name: name, Of: of, Default: short(fallback), Allowed: fmt.Sprintf("a duration of %s to %s", short(least), short(most)), Meaning: meaning},
		fallback: fallback,
		parse: func(s string) (time.Duration, bool) {
			d, err := time.ParseDuration(s)
			return d, err == nil && d >= least && d <= most
		},
	}
}

// share is a part of a whole, or 0 for "decide yourself".
func share(name, of, meaning string) typed[float64] {
	const least = 0.01
	return typed[float64]{
		Setting: Setting{Name: name, Of: of, Default: "0", Allowed: fmt.Sprintf("%v to 1, or 0", least), Meaning: meaning},
		parse: func(s string) (float64, bool) {
			f, err := strconv.ParseFloat(s, 64)
			return f, err == nil && (f == 0 || f >= least && f <= 1)
		},
	}
}

func listOf(name, of, allowed, meaning string, ok func(string) bool) typed[[]string] {
	return typed[[]string]{
		Setting: Setting{Name: name, Of: of, Allowed: allowed, Meaning: meaning},
		parse: func(s string) ([]string, bool) {
			var list []string
			for part := range strings.SplitSeq(s, ",") {
				part = strings.TrimSpace(part)
				if !ok(part) {
					return nil, false
				}
				list = append(list, part)
			}
			return list, true
		},
	}
}

// short writes a duration without the zeros that Go appends: 10m, not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// What the values of text settings may be.

func anyText(string) bool { return true }

// isDatabaseURL is a first look only: pgx, which connects, knows the rest.
func isDatabaseURL(s string) bool {
	if !strings.Contains(s, "://") {
		return strings.Contains(s, "=")
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$`)

func isHost(s string) bool { return net.ParseIP(s) != nil || hostName.MatchString(s) }

func isAddr(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host != "" && !isHost(host) {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= 65535
}

func isAuth(s string) bool { return s == AuthRequired || s == AuthOff }

func isLevel(s string) bool { return slices.Contains([]string{"debug", "info", "warn", "error"}, s) }

func isModel(s string) bool { return jobtype.ValidModel(s) }

// isKey takes what can stand in a header.
func isKey(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

const (
	allowedWebhookSecret = "1 to 5 secrets, separated by spaces or commas, each whsec_ and the base64 of 24 to 64 bytes"
	allowedWebhookURL    = "an absolute http or https URL of at most 2048 characters, without user and fragment"
	maxWebhookURL        = 2048
)

func isWebhookSecret(s string) bool {
	secrets := strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == ',' })
	return len(secrets) >= 1 && len(secrets) <= 5 && !slices.ContainsFunc(secrets, func(secret string) bool {
		encoded, ok := strings.CutPrefix(secret, "whsec_")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		return !ok || err != nil || len(raw) < 24 || len(raw) > 64
	})
}

func isWebhookURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Fragment == "" &&
		len(s) <= maxWebhookURL && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isHostPattern takes what a webhook's host is compared with.
func isHostPattern(s string) bool {
	if host, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
		s = host
	}
	return s == "*" || isHost(strings.TrimPrefix(s, "*."))
}

func isNetwork(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}

// isOrigin takes an origin as browsers send it, and no pattern: https://app* would be app.anywhere's, too.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		!strings.Contains(u.Host, "*") && s == u.Scheme+"://"+u.Host
}

// isLoopbackOrigin takes an origin that is of this machine.
func isLoopbackOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "http" && isOrigin(s) && net.ParseIP(u.Hostname()).IsLoopback()
}

const allowedBaseURL = "an absolute http or https URL without user, query and fragment"

func isBaseURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// isLoopback reports whether only this machine can reach a host.
func isLoopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/sluicedev/sluice/pkg/key"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// Config is what a Server is made of. Queue, Upstreams, DB and Log have to be there.
type Config struct {
	Queue       *queue.Queue
	Upstreams   *upstream.Store
	DB          pg.DB     // asked by /readyz, and told of new work
	Keys        *key.Ring // nil: whoever reaches the server may do everything
	CORSOrigins []string  // origins whose web pages may call, such as https://app.example; none by default
	ListenURL   string    // a direct connection for notifications; "": watched jobs are polled only
	MaxQueued   int       // jobs of one tenant that may wait at once; 0: any number
	RateLimit   int       // requests of one key in a second; 0: any number
	Simulator   string    // the demo's provider, whose behaviour the page at / may switch; "": there is none
	Log         *slog.Logger

	Metrics http.Handler // of /metrics, which is empty without it
	// Enqueuing begins the trace of a request that enqueues so many jobs; the traceparent is kept with each. nil: no traces.
	Enqueuing func(ctx context.Context, header http.Header, jobs int) (traceparent string, end func(err error))
	Answered  func(method, route string, status int, took time.Duration) // told of each request; the route is "none" where none of ours took it
}

// Server answers HTTP. It has no state but what it read within the last second.
type Server struct {
	queue     *queue.Queue
	intake    *queue.Intake
	upstreams *upstream.Store
	bell      *queue.Bell // of new work
	states    *queue.Bell // of jobs that changed
	db        pg.DB
	log       *slog.Logger

	contract *contract
	metrics  http.Handler
	answered func(method, route string, status int, took time.Duration)
	trace    func(ctx context.Context, header http.Header, jobs int) (string, func(error))
	known    map[string]bool // routes that are counted, with their methods
	echo     *echo.Echo
	stopping atomic.Bool
	ending   chan struct{} // closed when it stops
	end      sync.Once
	keys     *key.Ring // nil: no authentication
	rates    *rates
	tenant   func(echo.Context) string // whose jobs a request sees
	depth    *depth
	bodies   *bodies
	limits   workLimits

	hub              *hub
	streams, waiters turnstile
	ofStreams        streamLimits

	counts   *watch[string, queue.Counts]     // by tenant
	served   *watch[task, bool]               // by type and line
	places   *watch[placeKey, *place]         // of newcomers
	lineups  *watch[string, *lineup]          // of all who are watched, by line
	fleet    *watch[string, fleet]            // everybody's, as is the backlog
	inFlight *watch[string, map[string]int64] // by tenant, of lines
	backlog  *watch[string, int64]
}

var _ ServerInterface = (*Server)(nil)

// New makes a Server. It fails on an origin that is none.
func New(cfg Config) (*Server, error) {
	contract, err := loadContract()
	if err != nil {
		return nil, err
	}
	cfg = cfg.withHooks()
	bell := queue.NewBell(cfg.DB, cfg.Log)
	s := &Server{
		queue:     cfg.Queue,
		intake:    queue.NewIntake(cfg.Queue, bell),
		upstreams: cfg.Upstreams,
		bell:      bell,
		states:    queue.NewStateBell(cfg.DB, cfg.Log),
		db:        cfg.DB,
		log:       cfg.Log,

		contract:  contract,
		metrics:   cfg.Metrics,
		answered:  cfg.Answered,
		trace:     cfg.Enqueuing,
		ending:    make(chan struct{}),
		keys:      cfg.Keys,
		rates:     newRates(cfg.RateLimit),
		tenant:    tenantOf,
		depth:     newDepth(cfg.MaxQueued, cfg.Queue.Depths),
		bodies:    &bodies{most: maxBodies},
		limits:    ofWork,
		ofStreams: ofStreams,

		counts:   newWatch(cfg.Queue.Counts),
		inFlight: newWatch(cfg.Queue.InFlight),
		backlog:  newWatch(func(ctx context.Context, _ string) (int64, error) { return cfg.Queue.Backlog(ctx) }),
	}
	s.served = newWatch(s.readServed)
	s.fleet = newWatch(s.readFleet)
	s.places = newWatch(s.readPlace)
	s.lineups = newWatch(s.readLineup)
	s.hub = newHub(s, cfg.ListenURL)
	if s.echo, err = s.routes(cfg.CORSOrigins, cfg.Simulator); err != nil {
		return nil, err
	}
	return s, nil
}

// withHooks has something in the place of each hook that is not there, so that nobody has to look.
func (cfg Config) withHooks() Config {
	if cfg.Metrics == nil {
		cfg.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	}
	if cfg.Enqueuing == nil {
		cfg.Enqueuing = func(context.Context, http.Header, int) (string, func(error)) { return "", func(error) {} }
	}
	if cfg.Answered == nil {
		cfg.Answered = func(string, string, int, time.Duration) {}
	}
	return cfg
}

func (s *Server) routes(origins []string, simulator string) (*echo.Echo, error) {
	e := echo.New()
	e.HTTPErrorHandler = s.answerError
	e.IPExtractor = echo.ExtractIPDirect() // whoever is behind X-Forwarded-For may have made it up
	guard, err := crossOrigin(origins)
	if err != nil {
		return nil, err
	}
	e.Use(s.count, identify, harden, allowHead, recovered())
	if len(origins) > 0 {
		e.Use(middleware.CORSWithConfig(cors(origins)))
	}
	e.Use(guard, s.authenticate, s.deadline, s.bodies.bound, onePrefer, s.contract.check)
	RegisterHandlers(e, s)
	if err := s.servePage(e, simulator); err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	s.know(e.Routes())
	return e, nil
}

// Handler answers everything on the public port. Events of jobs come only while Serve runs.
func (s *Server) Handler() http.Handler { return headAsGet(s.echo) }

// AdminHandler answers what is for the operator alone: the probes, /metrics and pprof.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.nothing)
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		mux.Handle(path, withoutKey(s.Handler()))
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// nothing answers a path of the admin port that is not there as the public port answers its own.
func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	c := s.echo.NewContext(r, w)
	s.answerError(identify(harden(func(echo.Context) error { return echo.ErrNotFound }))(c), c)
}

// headAsGet answers HEAD wherever GET is answered; net/http leaves the body out.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			r = r.WithContext(context.WithValue(r.Context(), askedHead{}, true))
			r.Method = http.MethodGet
		}
		next.ServeHTTP(w, r)
	})
}

// askedHead is in the context of a GET that was a HEAD, for those whose GET would have no end.
type askedHead struct{}

// allowHead names HEAD where GET is: Echo does not know of headAsGet.
func allowHead(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Before(func() {
			h := c.Response().Header()
			if methods := h.Get(echo.HeaderAllow); strings.Contains(methods, http.MethodGet) {
				h.Set(echo.HeaderAllow, methods+", "+http.MethodHead)
			}
		})
		return next(c)
	}
}

// identify gives a request its id: the client's own, where that is harmless in a log.
func identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if !harmless(id) {
			id = uuid.NewString()
		}
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		return next(c)
	}
}

func harmless(id string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/-"
	return id != "" && len(id) <= maxRequestID && strings.Trim(id, letters) == ""
}

func requestID(c echo.Context) string { return c.Response().Header().Get(echo.HeaderXRequestID) }

// harden sets the headers of an answer that is data for one client. The page sets its own over them.
func harden(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set(echo.HeaderXContentTypeOptions, "nosniff")
		h.Set(echo.HeaderCacheControl, "no-store")
		h.Set(echo.HeaderReferrerPolicy, "no-referrer")
		h.Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
		return next(c)
	}
}

// recovered turns a panic into an error, which is logged with its stack and answered like any other of ours.
func recovered() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		DisableStackAll: true,
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			return fmt.Errorf("panic: %v\n%s", err, stack) // %v: what it wraps is no answer
		},
	})
}

func cors(origins []string) middleware.CORSConfig {
	return middleware.CORSConfig{
		AllowOrigins: origins,
		AllowMethods: []string{http.MethodGet, http.MethodPost},
		AllowHeaders: []string{echo.HeaderContentType, echo.HeaderAuthorization, keyHeader, "Prefer", "Last-Event-ID", echo.HeaderXRequestID},
		ExposeHeaders: []string{echo.HeaderLocation, replayedHeader, appliedHeader, echo.HeaderRetryAfter, rateHeader, ratePolicyHeader,
			echo.HeaderWWWAuthenticate, echo.HeaderXRequestID},
		MaxAge: 600,
	}
}

// crossOrigin refuses what a browser sends for a web page of another origin, unless that is allowed. Without it any page
// could pause an upstream of whoever runs an API without authentication on a loopback address: such a POST needs no body
// and asks nobody first.
func crossOrigin(origins []string) (echo.MiddlewareFunc, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("allowed origin: %w", err)
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if protection.Check(c.Request()) != nil {
				return &refusal{status: http.StatusForbidden, detail: "web pages of this origin may not do this; SLUICE_CORS_ORIGINS allows origins"}
			}
			return next(c)
		}
	}, nil
}

// deadline bounds a request's work. A slow sender's time is not the database's.
func (s *Server) deadline(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		limit := s.limits.request
		if c.Request().ContentLength != 0 {
			limit += readTimeout
		}
		r := c.Request()
		c.Set(presence, r.Context())
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		c.SetRequest(r.WithContext(ctx))
		return next(c)
	}
}

const presence = "presence"

// present ends when the client leaves: the deadline of a request's work is not that of who only waits.
func present(c echo.Context) context.Context { return c.Get(presence).(context.Context) }

func writeJSON(c echo.Context, status int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	return c.Blob(status, echo.MIMEApplicationJSON, body)
}

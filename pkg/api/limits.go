package api

import (
	"net/http"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// Limits of the HTTP side. The bounds of a job are jobtype's and queue's; openapi.yaml repeats both for clients, and a
// test holds them together.
const (
	maxEnvelope  = 64 << 10 // bytes of a job's members around its payload
	maxBody      = jobtype.MaxPayloadBytes + maxEnvelope
	maxBatchBody = 32 << 20  // bytes
	maxDiscard   = 64 << 20  // bytes of a refused body that are read all the same
	maxHeader    = 32 << 10  // bytes
	maxErrors    = 20        // fields named in one problem
	maxFieldName = 200       // characters of each
	maxRequestID = 64        // characters of a client's own X-Request-Id
	maxBodies    = 128 << 20 // bytes of all bodies that are read and not answered yet; each takes some times its size

	requestTimeout = 30 * time.Second // of a request's work in the database
	probeTimeout   = 3 * time.Second  // of the same for a probe, which is asked again soon
	drainTimeout   = 15 * time.Second // from the order to stop until open requests are cut off
	watchAge       = time.Second      // how old what watchers look at may be when it is handed out
	recountAge     = watchAge / 4     // how old the count may be on which an enqueue is refused
	maxWatched     = 10_000           // keys of one watched value that are kept
	maxRated       = 10_000           // API keys whose rate is kept

	// Of whoever watches jobs.
	maxStreams   = 4000             // event streams of a process, each some 50 kB
	maxWaiters   = 1000             // clients that wait for the job that they enqueued; more are answered at once
	maxWait      = time.Minute      // how long one may
	heartbeat    = 10 * time.Second // between two signs of life in a stream
	eventTimeout = 10 * time.Second // of a write; a reader that takes longer is let go
	streamLife   = 30 * time.Minute // then the client has to come back, and to be let in again
	minRetry     = time.Second      // until then; twice as long at most

	hubEvery  = watchAge              // between two looks at all watched jobs
	hubPause  = 50 * time.Millisecond // the same, with a notification, at least
	hubRest   = 10                    // the same, in times of how long the look took
	hubLimit  = 10 * time.Second      // of a look
	hubLinger = time.Minute           // how long it listens on when nobody watches any more

	// Of a connection. A slow reader may take as long over the answer as a slow sender over a batch.
	headerTimeout  = 5 * time.Second
	readTimeout    = time.Minute
	writeTimeout   = readTimeout + requestTimeout + time.Minute
	idleTimeout    = 2 * time.Minute
	maxConnections = 15_000 // of a port; beyond it idle ones are closed for new ones
)

// retryAfter is what a client is told to wait, in seconds. Both are guesses: when the database is back, or jobs have
// started, is not known.
var retryAfter = map[int]string{
	http.StatusServiceUnavailable: "2",
	http.StatusTooManyRequests:    "5",
}

// workLimits bound what a request may ask of the database.
type workLimits struct{ request, probe time.Duration }

var ofWork = workLimits{request: requestTimeout, probe: probeTimeout}

// connectionLimits bound what a client can hold of the server without asking for anything.
type connectionLimits struct {
	header, read, write, idle time.Duration
	drain                     time.Duration // from the order to stop
	headerBytes, connections  int
}

var ofConnections = connectionLimits{
	header: headerTimeout, read: readTimeout, write: writeTimeout, idle: idleTimeout, drain: drainTimeout,
	headerBytes: maxHeader, connections: maxConnections,
}

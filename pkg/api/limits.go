package api

import (
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// Limits of the HTTP side. The bounds of a job are jobtype's and queue's; openapi.yaml repeats both for clients, and a
// test holds them together.
const (
	maxEnvelope  = 64 << 10 // bytes of a job's members around its payload
	maxBody      = jobtype.MaxPayloadBytes + maxEnvelope
	maxBatchBody = 32 << 20 // bytes
	maxDiscard   = 64 << 20 // bytes of a refused body that are read all the same
	maxHeader    = 32 << 10 // bytes
	maxErrors    = 20       // fields named in one problem
	maxFieldName = 200      // characters of each
	maxRequestID = 64       // characters of a client's own X-Request-Id

	requestTimeout = 30 * time.Second // of a request's work in the database
	probeTimeout   = 3 * time.Second  // of the same for a probe, which is asked again soon
	drainTimeout   = 15 * time.Second // from the order to stop until open requests are cut off
	watchAge       = time.Second      // how old what watchers look at may be when it is handed out
	maxWatched     = 10_000           // keys of one watched value that are kept

	retryAfterSeconds = "2" // what a client is told while the database is away

	// Of a connection. A slow reader may take as long over the answer as a slow sender over a batch.
	headerTimeout = 5 * time.Second
	readTimeout   = time.Minute
	writeTimeout  = readTimeout + requestTimeout + time.Minute
	idleTimeout   = 2 * time.Minute
)

package openai

import (
	"net"
	"net/http"
	"time"
)

// Limits of the connections to one provider. There is no limit on calls: how many run at once is decided by quota.
const (
	dialTimeout     = 10 * time.Second
	idleTimeout     = 90 * time.Second
	maxIdle         = 10_000 // as many as calls may run: a smaller number makes busy workers dial anew for each call
	maxHeaderBytes  = 1 << 20
	bufferSize      = 1 << 10          // of each direction of a connection: with thousands of them the usual 4 KiB are a third of the memory
	pingAfter       = 30 * time.Second // HTTP/2: a connection silent for so long is asked whether it lives
	pingTimeout     = 15 * time.Second
	keepAlivePeriod = 30 * time.Second
)

// newTransport allows as many calls at once as are wanted, over HTTP/2 where the server speaks it, and through the
// proxy that the environment names. It has no time-out of its own, for an answer may take as long as its context allows.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlivePeriod}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         bufferSize,
		WriteBufferSize:        bufferSize,
	}
}

// Package llmtest is a provider to test against: OpenAI's Responses API over real HTTP, with its limits, its errors and
// its bad days.
//
// It promises what a real provider cannot: every call is counted and can be waited for, answers are deterministic, and
// each way to fail can be switched on while it runs, by Go methods or over HTTP:
//
//	POST /v1/responses, /responses   the API, streamed or not
//	GET  /control                    the script, the counts and the quota of each model, as JSON
//	POST /control                    changes the members of the script that the body names
//	GET  /control/calls              the log of calls, as JSON
//	GET, PUT /control/mode           {"mode": "healthy", "rate-limited", "down" or "out-of-credit"}: a switch for web pages of
//	                                 the origins that ServePages names, and for nobody else
//
// While the script is healthy, a single request chooses its own fate with "[[sim:MODE]]" anywhere in its input, or with
// metadata {"sim": "MODE"}; a MODE is a name out of Modes or an HTTP status such as 400.
//
// Its limiter is the token bucket that OpenAI's published messages and headers fit (see bucket.go). It understands no
// language, checks no credential, and must listen on nothing but loopback.
package llmtest

// Package api is Sluice over HTTP: enqueue, look, cancel, retry, pause, and the probes of whoever runs it.
//
// openapi.yaml is its source: the wire types and the routes are generated from it, requests are checked against it, and
// a test checks every answer against it.
//
// It promises that a job is durable when its enqueue is answered, that a payload is kept and given back byte for byte,
// that every answer of 400 or above is application/problem+json with the fault's field named, and that a refused
// request changed nothing. Watchers don't multiply queries: what they look at is read once a second at most, and all their
// jobs together (see hub). What an operation needs of an API key is said in openapi.yaml and nowhere else; what it does not say
// needs the most.
//
// It never calls a provider, keeps nothing that another instance could not read from Postgres, and never tells a client
// about its insides: those are logged, once, with the request's id. It is the only package that knows Echo and the wire.
package api

//go:generate go tool -modfile=../../tools/go.mod oapi-codegen -config oapi-codegen.yaml openapi.yaml

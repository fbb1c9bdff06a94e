// Package protocol is a model of how workers share jobs, that a machine explores. It has no code, only tests.
package protocol

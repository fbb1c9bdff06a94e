// Package config reads what an operator configured: the environment and the YAML
// file that SLUICE_CONFIG names.
//
// It promises that a process starts with a configuration that was checked whole,
// or not at all: every mistake is reported at once, each with its name, its value
// and what is allowed. A name that begins with SLUICE_ and means nothing is a
// mistake too, because a misspelt setting that is ignored is found at night.
//
// It never prints a secret, neither in an error nor when a configuration is
// formatted or logged, and it opens no connection.
package config

// Package migrations carries the schema as numbered goose files, embedded in the binaries, so that a deployment
// needs nothing but the binary and a database. It holds no logic: pkg/pg applies the files.
package migrations

import "embed"

// FS holds the migrations, NNNNN_what.sql, in the order in which they apply.
//
//go:embed *.sql
var FS embed.FS

// Package strictjson tells whether a JSON document can be kept and sent truly,
// and takes one apart without changing a byte of it.
//
// Valid JSON is not enough for that. PostgreSQL cannot store \u0000 as text, a
// lone surrogate becomes another character on the way, a number past float64
// turns into infinity or an error in whoever reads it, and of two members with
// one name each reader picks its own. Check and Unique refuse what would be lost
// or read in two ways, and say where it stands.
//
// The package never decodes into Go values and never writes JSON again: what
// leaves it are slices of the caller's bytes.
package strictjson

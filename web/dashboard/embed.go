// Package dashboard carries the page that cmd/api serves at /, as it was built, so that a clone builds without npm.
// Its source is in src; `make web` builds it anew and fails where dist is not what the source makes.
package dashboard

import "embed"

// Root is the folder of Files that holds index.html.
const Root = "dist"

// Files are the built page: index.html, and assets with a hash in their names.
//
//go:embed dist
var Files embed.FS

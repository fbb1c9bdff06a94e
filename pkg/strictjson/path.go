package strictjson

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// frame is one open object or array. The frames from the outermost to the
// innermost are the path to the value that is being read.
type frame struct {
	object bool
	name   []byte // of the current member: the raw string with its quotes
	index  int    // of the current element
}

// path is where in the document the checker stands.
type path []frame

// maxNameShown bounds, in bytes, how much of one member's name gets into a path.
const maxNameShown = 64

// field writes p as in "payload.messages[0].content", after root.
func (p path) field(root string) string {
	var b strings.Builder
	b.WriteString(root)
	for _, f := range p {
		switch {
		case !f.object:
			b.WriteString("[" + strconv.Itoa(f.index) + "]")
		case f.name == nil: // between the brace and the first name
		case plain(unquote(f.name)):
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(unquote(f.name))
		default:
			b.WriteString("[" + strconv.Quote(clip(unquote(f.name))) + "]")
		}
	}
	return b.String()
}

// plain reports whether a name can stand in a path without quotes.
func plain(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-$"
	return name != "" && len(name) <= maxNameShown && strings.Trim(name, letters) == ""
}

func clip(name string) string {
	if len(name) <= maxNameShown {
		return name
	}
	end := maxNameShown
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…"
}

// unquote returns the text of a raw JSON string that is known to be valid.
func unquote(raw []byte) string {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	text, _ := jsontext.AppendUnquote(nil, raw)
	return string(text)
}

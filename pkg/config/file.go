package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFileBytes bounds the configuration file.
const maxFileBytes = 1 << 20

// file is the parsed YAML file. Its values are read one by one, not decoded into
// a struct, so that all mistakes are found and not only the first, and so that
// the keys of a request keep their order.
type file struct {
	name  string
	lines map[string]int // of the keys, by path
	wrong *mistakes
}

// openFile parses the file; the section is its top level.
func openFile(name string, wrong *mistakes) (section, bool) {
	f := &file{name: name, lines: map[string]int{}, wrong: wrong}
	content, err := readLimited(name, maxFileBytes)
	if err == nil && !utf8.Valid(content) {
		err = fmt.Errorf("it is not valid UTF-8")
	}
	if err != nil {
		wrong.add(configFile.Name, "is %s, must be %s: %v", show(name), configFile.Allowed, err)
		return section{}, false
	}
	top, err := f.parse(content)
	if err != nil {
		f.syntax(err)
		return section{}, false
	}
	return section{file: f, items: top}, true
}

func (f *file) parse(content []byte) (yaml.MapSlice, error) {
	parsed, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, err
	}
	if len(parsed.Docs) > 1 {
		return nil, fmt.Errorf("must be one document")
	}
	var top any
	if err := yaml.UnmarshalWithOptions(content, &top, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	if top == nil { // empty, or only comments
		return nil, nil
	}
	items, ok := top.(yaml.MapSlice)
	if !ok {
		return nil, fmt.Errorf("must be a mapping of keys to values")
	}
	f.locate("", parsed.Docs[0].Body)
	return items, nil
}

// locate notes the line of every key.
func (f *file) locate(path string, node ast.Node) {
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, value := range n.Values {
			f.locate(path, value)
		}
	case *ast.MappingValueNode:
		key := n.Key.GetToken()
		path = join(path, key.Value)
		f.lines[path] = key.Position.Line
		f.locate(path, n.Value)
	case *ast.AnchorNode:
		f.locate(path, n.Value)
	case *ast.SequenceNode:
		for i, value := range n.Values {
			f.locate(fmt.Sprintf("%s[%d]", path, i), value)
		}
	}
}

// line is the line of a key, or of the nearest one around it: what an alias
// brings in stands elsewhere.
func (f *file) line(path string) int {
	for ; path != ""; path = path[:max(strings.LastIndexByte(path, '.'), 0)] {
		if line, ok := f.lines[path]; ok {
			return line
		}
	}
	return 1
}

func (f *file) add(path, format string, args ...any) {
	f.wrong.add(fmt.Sprintf("%s:%d: %s", f.name, f.line(path), path), format, args...)
}

// syntax reports an error of the parser without the lines around it that the
// parser would print: nobody knows what stands there.
func (f *file) syntax(err error) {
	if parsing, ok := err.(yaml.Error); ok && parsing.GetToken() != nil {
		f.wrong.add(fmt.Sprintf("%s:%d", f.name, parsing.GetToken().Position.Line), "%s", parsing.GetMessage())
		return
	}
	f.wrong.add(f.name, "%v", err)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// section is a mapping in the file.
type section struct {
	file  *file
	path  string
	items yaml.MapSlice
}

// add reports what is wrong with one of the section's keys.
func (s section) add(key, format string, args ...any) {
	s.file.add(join(s.path, key), format, args...)
}

// get returns the value of a key. Merging (<<) can bring one in twice, and then
// the later one counts.
func (s section) get(key string) (any, bool) {
	for _, item := range slices.Backward(s.items) {
		if fmt.Sprint(item.Key) == key {
			return item.Value, true
		}
	}
	return nil, false
}

// names are the section's keys, each once, in order.
func (s section) names() []string {
	var names []string
	for _, item := range s.items {
		if name := fmt.Sprint(item.Key); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// only reports the keys that are none of the allowed.
func (s section) only(allowed ...string) {
	for _, name := range s.names() {
		if !slices.Contains(allowed, name) {
			s.add(name, "is not a key here; the keys are %s", strings.Join(allowed, ", "))
		}
	}
}

// under returns the section below a key; it is empty where there is none.
func (s section) under(key string) section {
	below := section{file: s.file, path: join(s.path, key)}
	value, given := s.get(key)
	if !given || value == nil {
		return below
	}
	items, ok := value.(yaml.MapSlice)
	if !ok {
		if empty, isMap := value.(map[string]any); !isMap || len(empty) > 0 {
			s.add(key, "must be a mapping of keys to values")
		}
		return below
	}
	below.items = items
	return below
}

func (s section) text(key, fallback string) string {
	value, given := s.get(key)
	if !given {
		return fallback
	}
	text, ok := value.(string)
	if !ok {
		s.add(key, "must be text")
		return fallback
	}
	return text
}

func (s section) whole(key string, fallback int64) int64 {
	value, given := s.get(key)
	if !given {
		return fallback
	}
	switch n := value.(type) {
	case uint64:
		if int64(n) >= 0 {
			return int64(n)
		}
	case int64:
		return n
	}
	s.add(key, "is %s, must be a whole number", show(value))
	return fallback
}

func (s section) number(key string, fallback float64) float64 {
	value, given := s.get(key)
	if !given {
		return fallback
	}
	switch n := value.(type) {
	case float64:
		return n
	case uint64:
		return float64(n)
	case int64:
		return float64(n)
	}
	s.add(key, "is %s, must be a number", show(value))
	return fallback
}

// duration takes "10m" and the like, and a bare 0, but no other bare number:
// whether it means seconds or milliseconds is anybody's guess.
func (s section) duration(key string, fallback time.Duration) time.Duration {
	value, given := s.get(key)
	if !given {
		return fallback
	}
	if value == uint64(0) {
		return 0
	}
	if text, ok := value.(string); ok {
		if d, err := time.ParseDuration(text); err == nil {
			return d
		}
	}
	s.add(key, "is %s, must be a duration with its unit, such as 500ms, 10m or 72h", show(value))
	return fallback
}

func (s section) texts(key string) []string {
	value, given := s.get(key)
	if !given {
		return nil
	}
	list, ok := value.([]any)
	var texts []string
	for _, element := range list {
		text, isText := element.(string)
		ok = ok && isText
		texts = append(texts, text)
	}
	if !ok {
		s.add(key, "must be a list of texts")
		return nil
	}
	return texts
}

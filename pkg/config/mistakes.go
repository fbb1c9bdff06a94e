package config

import (
	"fmt"
	"regexp"
	"strings"
)

// Error is all that is wrong with a configuration.
type Error struct {
	Mistakes []string // a line each
}

func (e *Error) Error() string {
	if len(e.Mistakes) == 1 {
		return "a mistake in the configuration: " + e.Mistakes[0]
	}
	return fmt.Sprintf("%d mistakes in the configuration:\n  %s", len(e.Mistakes), strings.Join(e.Mistakes, "\n  "))
}

// mistakes collects them while the configuration is read.
type mistakes []string

func (m *mistakes) add(name, format string, args ...any) {
	*m = append(*m, name+": "+fmt.Sprintf(format, args...))
}

func (m mistakes) err() error {
	if len(m) == 0 {
		return nil
	}
	return &Error{Mistakes: m}
}

// maxValueShown bounds, in bytes, what a mistake repeats of a value.
const maxValueShown = 100

// inURL are the parts of a URL in which people put passwords and keys.
var inURL = regexp.MustCompile(`(://)[^/?#]*(@)|([?#]).*`)

// show writes a value for a person to recognise.
func show(value any) string {
	text, ok := value.(string)
	if !ok {
		return fmt.Sprint(value)
	}
	if strings.Contains(text, "://") {
		text = inURL.ReplaceAllString(text, "${1}${3}"+redacted+"${2}")
	}
	if len(text) > maxValueShown {
		text = strings.ToValidUTF8(text[:maxValueShown], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}

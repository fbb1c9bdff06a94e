package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Env is the environment of a process.
type Env map[string]string

// Environ makes an Env from what os.Environ returns.
func Environ(list []string) Env {
	env := make(Env, len(list))
	for _, entry := range list {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// reader reads settings from the environment and collects what is wrong.
type reader struct {
	env   Env
	wrong mistakes
	known map[string]bool // further names that the file gave a meaning
}

// lookup returns the value of a name. Set to nothing counts as not set: that is
// what ${NAME:-} in a compose file makes of a name that is not.
func (r *reader) lookup(name string) (string, bool) {
	value := r.env[name]
	return value, value != ""
}

const (
	fileSuffix     = "_FILE"
	maxSecretBytes = 64 << 10
)

// secret returns the value of NAME, or the content of the file that NAME_FILE
// names, without the line break that editors put at its end.
func (r *reader) secret(name string) (value string, ok bool) {
	value, given := r.lookup(name)
	path, inFile := r.lookup(name + fileSuffix)
	switch {
	case given && inFile:
		r.wrong.add(name, "is set and so is %s; set one of the two", name+fileSuffix)
		return "", true
	case !inFile:
		return value, given
	}
	content, err := readLimited(path, maxSecretBytes)
	value = strings.TrimRight(string(content), "\r\n")
	if err == nil && value == "" {
		err = errors.New("the file is empty")
	}
	if err != nil {
		r.wrong.add(name+fileSuffix, "is %s, must be a readable file: %v", show(path), err)
	}
	return value, true
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("the file is larger than %d bytes", limit)
	}
	return content, nil
}

// withoutPath drops the path, which the mistake shows already.
func withoutPath(err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

const ownPrefix = "SLUICE_"

// ignored are names that others make: Kubernetes injects SLUICE_SERVICE_HOST,
// SLUICE_API_PORT_3000_TCP and the like for a service called sluice or
// sluice-api, and SLUICE_TEST_* belongs to the tests.
var ignored = regexp.MustCompile(`^SLUICE_(TEST_.*|(.*_)?SERVICE_HOST|(.*_)?SERVICE_PORT(_.*)?|(.*_)?PORT(_.*)?)$`)

// unknown reports the names that look like settings and are none.
func (r *reader) unknown() {
	var names []string
	for name := range r.env {
		if strings.HasPrefix(name, ownPrefix) && !isSetting(name) && !r.known[name] && !ignored.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		r.wrong.add(name, "is not a setting; the settings are %s", strings.Join(ownNames(), ", "))
	}
}

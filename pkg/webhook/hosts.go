package webhook

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
)

var (
	errNoURL   = errors.New("is no URL for a webhook: it must be absolute, http or https, and hold no user information")
	errHost    = errors.New("its host is not allowed: see SLUICE_WEBHOOK_HOSTS")
	usualPorts = []string{"80", "443"}
)

// hosts are patterns of hosts that may be told: a name, `*.` and a name for all below it, or `*` for all; with a port, or
// else for the usual ones.
type hosts []string

// allow tells whether a URL is for one of them.
func (h hosts) allow(u *url.URL) bool {
	host, port := strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return slices.ContainsFunc(h, func(pattern string) bool {
		name, ports := strings.ToLower(pattern), usualPorts
		if n, p, err := net.SplitHostPort(name); err == nil {
			name, ports = n, []string{p}
		}
		return matches(strings.Trim(name, "[]"), host) && slices.Contains(ports, port)
	})
}

func matches(pattern, host string) bool {
	if below, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, below)
	}
	return pattern == host
}

// target reads where a delivery goes. An endpoint is allowed, because the operator wrote it.
func (h hosts) target(raw, endpoint string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, errNoURL
	}
	if raw != endpoint && !h.allow(u) {
		return nil, errHost
	}
	return u, nil
}

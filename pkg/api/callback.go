package api

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/sluicedev/sluice/pkg/webhook"
)

// callbackFault says what is wrong with a callback_url; "": nothing. It looks at what is written alone: the addresses
// behind a name are checked when it is dialled, because they may change until then.
func callbackFault(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "must be a URL"
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "must be an absolute http or https URL"
	case u.User != nil:
		return "must not hold user information"
	case !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		return "must have a port from 1 to 65535, or none"
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	switch {
	case host == "":
		return "must name a host"
	case strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }):
		return "must name its host in ASCII (xn--…)" // clients fold other digits and dots into ASCII ones
	case host == "localhost" || strings.HasSuffix(host, ".localhost") || !publicAddr(host):
		return "must not be a private, loopback or link-local address"
	}
	return ""
}

func validPort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// publicAddr tells whether host is a name, or a literal address that is not closed to us.
func publicAddr(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		v4, ok := looseIPv4(host)
		if !ok {
			return !endsInNumber(host)
		}
		addr = v4
	}
	return webhook.Public(addr)
}

// endsInNumber tells whether a host that is no address ends like one. No public name does.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

// looseIPv4 reads what inet_aton does, and with it many resolvers: one to four numbers, decimal, octal (0…) or
// hexadecimal (0x…), of which the last fills all bytes that are left. 2130706433 and 0x7f.1 are 127.0.0.1.
func looseIPv4(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		n, ok := looseNumber(part)
		if !ok || n >= 1<<bits {
			return netip.Addr{}, false
		}
		v = v<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

func looseNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"):
		s, base = s[2:], 16
		if s == "" {
			s = "0"
		}
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, err == nil
}

package webhook

import (
	"net/netip"
	"net/url"
	"testing"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for _, public := range []string{"8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "172.32.0.1", "100.128.0.1",
		"2606:4700::1111%eth0", "198.20.0.1", "192.88.98.1", "2001:200::1", "3fff:1000::1"} {
		if !Public(netip.MustParseAddr(public)) {
			t.Errorf("%s is not public", public)
		}
	}
	for _, inside := range []string{"127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
		"192.0.0.8", "192.0.2.1", "192.88.99.1", "100.127.255.255", "198.19.255.255", "2001:1ff::1", "3fff:fff::1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001::1", "2001:db8::1", "100::1", "3fff::1",
		"::8.8.8.8", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b:1:7f00:0:100:808:808", "64:ff9b:1::808:808", "5f00::1", "1000::1", "4000::1", "f000::1"} {
		if Public(netip.MustParseAddr(inside)) {
			t.Errorf("%s is public", inside)
		}
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	check := guard(prefixes("10.1.0.0/16", "fd00::/8"))
	for _, open := range []string{"8.8.8.8:443", "10.1.2.3:8080", "[::ffff:10.1.2.3]:80", "[fd00::1]:80", "[fd00::1%eth0]:80"} {
		if err := check("tcp", open, nil); err != nil {
			t.Errorf("%s: %v", open, err)
		}
	}
	for _, shut := range []string{"10.2.0.1:80", "127.0.0.1:80", "[::ffff:127.0.0.1]:80", "[fe80::1%eth0]:80", "169.254.169.254:80", "localhost:80", ""} {
		if check("tcp", shut, nil) == nil {
			t.Errorf("%s is let through", shut)
		}
	}
}

func TestAllowedHosts(t *testing.T) {
	t.Parallel()
	allowed := hosts{"hooks.example.com", "*.Example.org", "dev.example.net:8443", "[::1]:8080", "*:9443", "plain.example.net:80"}
	for raw, want := range map[string]bool{
		"https://hooks.example.com/x":           true,
		"http://HOOKS.example.com./x":           true,
		"https://hooks.example.com:443/":        true,
		"https://hooks.example.com:8443/":       false,
		"https://a.hooks.example.com/":          false,
		"https://hooks.example.com.evil.org/":   false,
		"https://evil.org/hooks.example.com":    false,
		"https://evil.org?hooks.example.com":    false,
		"https://evil.org#@hooks.example.com":   false,
		"https://hooks.example.com\\.evil.org/": false,
		"https://a.example.org/":                true,
		"https://a.b.example.org/":              true,
		"https://example.org/":                  false,
		"https://evilexample.org/":              false,
		"https://dev.example.net:8443/":         true,
		"https://dev.example.net/":              false,
		"http://plain.example.net/":             true,
		"https://plain.example.net/":            false,
		"http://[::1]:8080/":                    true,
		"http://[::1]/":                         false,
		"https://any.where:9443/":               true,
		"https://any.where/":                    false,
		"https://u@hooks.example.com/":          false,
		"https://hooks.example.com@evil.org/":   false,
		"ftp://hooks.example.com/":              false,
		"//hooks.example.com/":                  false,
		"hooks.example.com":                     false,
		"":                                      false,
	} {
		if _, err := allowed.target(raw, ""); (err == nil) != want {
			t.Errorf("%s: %v", raw, err)
		}
	}
	const endpoint = "http://receiver.default.svc:8080/hook"
	if _, err := (hosts)(nil).target(endpoint, endpoint); err != nil {
		t.Errorf("an endpoint that the operator wrote: %v", err)
	}
	if _, err := (hosts)(nil).target(endpoint+"/other", endpoint); err == nil {
		t.Error("another URL of an endpoint's host is taken")
	}
	if _, err := (hosts)(nil).target("https://hooks.example.com/", ""); err == nil {
		t.Error("without a list a host is taken")
	}
	if (hosts{"*"}).allow(&url.URL{Scheme: "http", Host: "x:22"}) {
		t.Error("any host at any port is taken")
	}
}

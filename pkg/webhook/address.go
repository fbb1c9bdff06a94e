package webhook

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// closed are the networks that netip has no word for, after the registries of IANA for addresses of a special purpose.
var closed = prefixes(
	"0.0.0.0/8",       // this host
	"100.64.0.0/10",   // shared by the customers of a carrier
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4
	"198.18.0.0/15",   // benchmarking
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // protocol assignments, Teredo
	"2001:db8::/32",   // documentation
	"3fff::/20",       // documentation
)

// assigned is all of IPv6 that is the internet's. What is outside of it is somebody's own: of a link, of a site, or of a
// translator that makes an IPv4 address of it in a way that we cannot know (RFC 8215, SIIT).
var assigned = netip.MustParsePrefix("2000::/3")

// embedded are the IPv6 networks whose addresses carry an IPv4 one, and the byte at which it begins: NAT64 (RFC 6052) and
// 6to4 (RFC 3056).
var embedded = map[netip.Prefix]int{
	netip.MustParsePrefix("64:ff9b::/96"): 12,
	netip.MustParsePrefix("2002::/16"):    2,
}

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range list {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

// Public tells whether an address is one of the internet's, and not of this machine, of its network, or of no one. An IPv6
// address that stands for an IPv4 one is judged by that.
func Public(addr netip.Addr) bool {
	addr = carried(addr.WithZone("").Unmap())
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !within(closed, addr) && (addr.Is4() || assigned.Contains(addr))
}

// carried gives the IPv4 address that an IPv6 one stands for, or the address itself.
func carried(addr netip.Addr) netip.Addr {
	for p, at := range embedded {
		if p.Contains(addr) {
			b := addr.As16()
			return netip.AddrFrom4([4]byte(b[at : at+4]))
		}
	}
	return addr
}

func within(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// guard refuses a connection to an address that is neither public nor in one of the networks that the operator opened. It
// sees what is dialled, after all names and notations are resolved, and so nothing can change in between.
func guard(open []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%s is no address", address)
		}
		if addr := to.Addr().WithZone("").Unmap(); !Public(addr) && !within(open, addr) {
			return fmt.Errorf("%s is inside the network, and SLUICE_WEBHOOK_NETWORKS does not open it", addr)
		}
		return nil
	}
}

package grants

import (
	"net/netip"
	"strings"

	"sallyport/verify/wire"
)

// prefix is where the keys are, after that of the fleet.
const prefix = "grants/"

// slot is the last part of a key: a client has at most one key of each at a gateway.
type slot uint8

const (
	ipv4    slot = iota // a grant for an address of IPv4
	ipv6                // for one of IPv6
	closing             // what the client closed last
	numSlots
)

var slotNames = [numSlots]string{"4", "6", "close"}

// grantKey is the name of a key: GATEWAY/ID/SLOT.
type grantKey struct {
	gateway string
	client  wire.Identifier
	slot    slot
}

// String returns the name after the prefix.
func (k grantKey) String() string {
	return k.gateway + "/" + k.client.String() + "/" + slotNames[k.slot]
}

// parseKey reads a name after the prefix. An identifier may contain a slash; it has four
// bytes. The name of a gateway has no slash.
func parseKey(name string) (k grantKey, ok bool) {
	gateway, rest, found := strings.Cut(name, "/")
	const size = len(wire.Identifier{})
	if !found || gateway == "" || len(rest) < size+1 || rest[size] != '/' {
		return k, false
	}
	k = grantKey{gateway: gateway, client: wire.Identifier([]byte(rest[:size]))}
	for i, name := range slotNames {
		if rest[size+1:] == name {
			k.slot = slot(i)
			return k, k.client.Valid()
		}
	}
	return k, false
}

func slotOf(a netip.Addr) slot {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

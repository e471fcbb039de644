package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
)

// resolveTime is how long a command waits for the addresses of the server's name.
const resolveTime = 2 * time.Second

// lookup returns the addresses of a host name.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// serverAddresses are the addresses of a server for its profiles.
type serverAddresses struct {
	all      []netip.Addr
	resolved bool   // they are those of the server's name, or it needs none
	note     string // what people should know of them; empty: nothing
}

// findAddresses returns the addresses of a server: those of its name, as this host
// resolves it. They may be private, if the name leads there. If the name leads to none
// that a client could use, it returns the public addresses of the configuration. A
// server that is an address itself needs no others.
func findAddresses(ctx context.Context, find lookup, cfg *config.Config, server string) serverAddresses {
	if _, err := netip.ParseAddr(server); err == nil || !client.ValidHost(server) {
		return serverAddresses{resolved: true}
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	found, err := find(ctx, "ip", server)
	use := func(a netip.Addr) bool { return client.WhyNotServer(server, a) == "" && cfg.ReceivesOver(a) }
	all := selectAddresses(found, use)
	if i := slices.IndexFunc(all, netip.Addr.IsPrivate); i >= 0 {
		return serverAddresses{all, true, fmt.Sprintf("on this host %s is %s, a private address, and so it is in the profile", server, all[i])}
	}
	if len(all) > 0 {
		return serverAddresses{all: all, resolved: true}
	}
	note := fmt.Sprintf("this host finds no address of %s", server)
	switch {
	case err != nil:
		note += ": " + hint.Cause(err).Error()
	case len(found) > 0:
		note += fmt.Sprintf(" that a client could use, but %s", found[0].Unmap())
	}
	if all = selectAddresses(cfg.PublicAddresses(), use); len(all) > 0 {
		return serverAddresses{all, false, note + "; the profile has those of the configuration"}
	}
	return serverAddresses{nil, false, note + "; the profile has none, and its device must find them"}
}

// selectAddresses returns the addresses that a profile may have, sorted, at most as many
// as it has room for. If there are more, both families get a part.
func selectAddresses(found []netip.Addr, use func(netip.Addr) bool) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if a.IsLinkLocalUnicast() || !use(a) { // its zone is an interface of this host
			continue
		}
		i := 0
		if a.Is6() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	for i := range families {
		slices.SortFunc(families[i], netip.Addr.Compare)
		families[i] = slices.Compact(families[i])
	}
	const half = client.MaxAddresses / 2
	four, six := len(families[0]), len(families[1])
	four = min(four, max(half, client.MaxAddresses-six))
	six = min(six, client.MaxAddresses-four)
	return slices.Concat(families[0][:four], families[1][:six])
}

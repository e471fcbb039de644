package main

import (
	"context"
	"net"
	"net/netip"
	"os"
)

// noNames is a variable of the environment: if it is set, no name resolves.
const noNames = "SALLYPORT_TEST_NO_NAMES"

// names are the host names of these tests. No test asks a name server.
var names = map[string][]string{
	"gate.example.org": {"2001:db8::5", "203.0.113.5"},
	"lan.example.org":  {"fe80::7%eth0", "192.168.1.7"},
	"own.example.org":  {"127.0.1.1"},
	"many.example.org": {
		"203.0.113.9", "203.0.113.8", "203.0.113.7", "203.0.113.6", "203.0.113.5", "203.0.113.4", "203.0.113.4", "::ffff:203.0.113.4",
		"2001:db8::9", "2001:db8::8", "2001:db8::7", "2001:db8::6", "2001:db8::5", "2001:db8::4",
	},
}

// testNames is a resolver for names. It answers for slow.example.org when the caller
// waits no longer.
func testNames(ctx context.Context, _, host string) (found []netip.Addr, err error) {
	if host == "slow.example.org" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for _, text := range names[host] {
		if os.Getenv(noNames) != "" {
			break
		}
		found = append(found, netip.MustParseAddr(text))
	}
	if found == nil {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return found, err
}

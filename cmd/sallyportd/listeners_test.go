package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestProgramListensOnMoreAddresses looks for sockets of this process in the
// kernel's lists.
func TestProgramListensOnMoreAddresses(t *testing.T) {
	listen := func(network, at string) (port int) {
		t.Helper()
		if strings.HasPrefix(network, "udp") {
			c, err := net.ListenPacket(network, at)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c.LocalAddr().(*net.UDPAddr).Port
		}
		l, err := net.Listen(network, at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().(*net.TCPAddr).Port
	}
	for _, row := range []struct {
		network, at, host string
		warns             bool
	}{
		{"tcp4", ":0", "192.0.2.1", true},
		{"tcp", ":0", "192.0.2.1", true},
		{"tcp6", "[::]:0", "[2001:db8::1]", true},
		{"udp4", ":0", "192.0.2.1", true},
		{"udp", ":0", "192.0.2.1", true},
		{"tcp4", "127.0.0.1:0", "192.0.2.1", false},
		{"udp4", "127.0.0.1:0", "192.0.2.1", false},
		{"tcp4", ":0", "", false},
	} {
		port := listen(row.network, row.at)
		cfg := configtest.Parse(t, "", fmt.Sprintf("[[service]]\nname = \"one\"\ntype = \"firewall\"\nprotocol = %q\nlisten = \"%s:%d\"\n", row.network[:3], row.host, port))
		got := texts(checkListeners(cfg, procNet()))
		if (got != "") != row.warns || row.warns && !strings.Contains(got, fmt.Sprintf(`listen = ":%d"`, port)) {
			t.Errorf("%s at %s, guarded at %q: %q", row.network, row.at, row.host, got)
		}
	}
}

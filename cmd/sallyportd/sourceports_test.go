package main

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config/configtest"
)

func TestSourcePorts(t *testing.T) {
	const cut = "on_close = \"cut\"\n"
	for _, row := range []struct {
		service, reserved string
		warns             string
	}{
		{"type = \"proxy\"\nupstream = \"127.0.0.1:22\"\nlisten = \":40000\"\n", "", "ip_local_reserved_ports=40000\""},
		{"type = \"proxy\"\nupstream = \"127.0.0.1:22\"\nlisten = \":40000\"\n", "8080,9000-9010", "ip_local_reserved_ports=8080,9000-9010,40000\""},
		{"type = \"proxy\"\nupstream = \"127.0.0.1:22\"\nlisten = \":40000\"\n", "40000", ""},
		{"type = \"proxy\"\nupstream = \"127.0.0.1:22\"\nlisten = \":40000\"\n", "1,39000-41000", ""},
		{"type = \"proxy\"\nupstream = \"127.0.0.1:22\"\nlisten = \":2222\"\n", "", ""},
		{"type = \"firewall\"\nlisten = \":40000\"\n", "", "the program behind the firewall then cannot listen; "},
		{"type = \"firewall\"\nprotocol = \"udp\"\nlisten = \":40000\"\n", "", "the program behind the firewall then cannot listen; "},
		{"type = \"firewall\"\nprotocol = \"udp\"\nlisten = \":40000\"\n" + cut, "", "cannot listen, and answers to that connection are dropped; "},
		{"type = \"firewall\"\nlisten = \":60999\"\n", "", "cannot listen"},
		{"type = \"firewall\"\nlisten = \":61000\"\n", "", ""},
		{"type = \"firewall\"\nlisten = \":60000-61000\"\n", "", "ip_local_reserved_ports=60000-61000\""},
		{"type = \"firewall\"\nlisten = \":1-65535\"\n", "", "choose fewer ports"},
		{"type = \"firewall\"\nlisten = \":40000\"\n", "32768-39999,41000-50000", "choose fewer ports"},
	} {
		cfg := configtest.Parse(t, "", "[[service]]\nname = \"one\"\n"+row.service)
		got := texts(checkSourcePorts(cfg, true, sourcePorts{32768, 60999, row.reserved}))
		if (got != "") != (row.warns != "") || !strings.Contains(got, row.warns) {
			t.Errorf("%s, reserved %q: %q", row.service, row.reserved, got)
		}
	}
	if p := readSourcePorts(); p.first == 0 || p.last < p.first {
		t.Errorf("the kernel's range: %+v", p)
	}
}

// TestLostKnocks: the share of sequences that fail, as far as it is worth a warning.
func TestLostKnocks(t *testing.T) {
	for listen, want := range map[string]string{
		":60000":       "",
		":60000-61000": "about 5 % of all sequences fail, and succeed in the next minute",
		":1025-30000":  "about 83 % of all sequences fail; ",
		":1025-65535":  "hardly any sequence arrives, and clients do not get in",
	} {
		cfg := configtest.Parse(t, "", "[[service]]\nname = \"one\"\ntype = \"firewall\"\nprotocol = \"udp\"\nlisten = \""+listen+"\"\n")
		if got := texts(checkLostKnocks(cfg)); (got != "") != (want != "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", listen, got)
		}
	}
}

package main

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config/configtest"
)

func TestSourcePorts(t *testing.T) {
	const cut = "on_close = \"cut\"\n"
	const process = "type = \"process\"\nprogram = [\"/bin/true\"]\nprogram_user = \"games\"\n"
	const via = "type = \"firewall\"\nbind = \"connection\"\nvia = \"proxy\"\n"
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
		{via + "via_port = 40001\nlisten = \":2525\"\n", "", "may use port 40001 as the source port of a connection (net.ipv4.ip_local_port_range is 32768 to 60999): the server then cannot listen before the program"},
		{via + "via_port = 40001\nlisten = \":40000\"\n", "", "ip_local_reserved_ports=40000,40001\""},
		{via + "via_port = 10025\nlisten = \":2525\"\n", "", ""},
		{process + "upstream = \"127.0.0.1:40000\"\nlisten = \":8080\"\n", "", "this host may use port 40000 as the source port of a connection (net.ipv4.ip_local_port_range is 32768 to 60999): the program then cannot listen; \"sysctl -w net.ipv4.ip_local_reserved_ports=40000\""},
		{process + "upstream = \"127.0.0.1:40000\"\nlisten = \":8080\"\n", "40000", ""},
		{process + "upstream = \"127.0.0.1:40000\"\nlisten = \":40001\"\n", "", "ip_local_reserved_ports=40001,40000\""},
		{process + "upstream = \"127.0.0.1:8081\"\nlisten = \":8080\"\n", "", ""},
		{process + "upstream = \"inherit\"\nlisten = \":8080\"\n", "", ""},
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

// TestDrawnSourcePorts: ports that may be drawn, and that the kernel may take.
func TestDrawnSourcePorts(t *testing.T) {
	const web, udp = "type = \"web\"\nlisten = \":0\"\n", "type = \"firewall\"\nprotocol = \"udp\"\nlisten = \":53\"\n"
	for _, row := range []struct{ keys, reserved, warns string }{
		{web, "", ""},
		{web + "rotate_ports = \"10000-32768\"\n", "", "this host may use 1 of the 22769 ports of rotate_ports = \"10000-32768\" as the source port"},
		{web + "rotate_ports = \"32000-40000\"\nrotate_except = [33000, 34000]\n", "", "may use 7231 of the 7999 ports"},
		{web + "rotate_ports = \"10000-32768\"\nrotate_except = [32768]\n", "", ""},
		{web + "rotate_ports = \"10000-32768\"\n", "32768-33000", ""},
		{web + "rotate_ports = \"61000-65535\"\n", "", ""},
		{udp + "rotate_ports = \"50000-60000\"\n", "", "the next of the minute's candidates, and a client, which uses the first, gets in a minute later; choose rotate_ports outside"},
	} {
		cfg := configtest.Parse(t, "", "[[service]]\nname = \"one\"\nport = \"rotate\"\n"+row.keys)
		got := texts(checkDrawnSourcePorts(cfg, sourcePorts{32768, 60999, row.reserved}))
		if (got != "") != (row.warns != "") || !strings.Contains(got, row.warns) {
			t.Errorf("%s, reserved %q: %q", row.keys, row.reserved, got)
		}
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

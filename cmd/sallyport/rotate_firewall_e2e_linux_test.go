package main

import (
	"strings"
	"testing"
)

// TestRotatingFirewall: with the firewall and stealth, drawn ports lead to the port of
// another program, or are those of the server. Strangers find no difference between
// drawn ports and their neighbours, before and during leases. When the server, its
// holder or the rules are gone, nothing opens.
func TestRotatingFirewall(t *testing.T) {
	long(t)
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.echo("127.0.0.1:7000")
	const rotating = "port = \"rotate\"\nopen_for = \"1h\"\nopen_max = \"1h\"\n"
	n.configure("stealth = true\n"+
		"[[service]]\nname = \"tcp\"\ntype = \"firewall\"\nlisten = \":5400\"\npolicy = \"reject\"\n"+rotating+
		"[[service]]\nname = \"udp\"\ntype = \"firewall\"\nprotocol = \"udp\"\nlisten = \":5400\"\n"+rotating+
		"[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":0\"\n"+rotating+
		"[[service]]\nname = \"relay\"\ntype = \"proxy\"\nprotocol = \"udp\"\nupstream = \"127.0.0.1:7000\"\nlisten = \":0\"\n"+rotating,
		"tcp=tcp", "udp=udp", "web=web", "relay=relay")
	holder := n.hold()
	n.serve()
	all := []string{"tcp", "udp", "web", "relay"}
	isUDP := func(name string) bool { return name == "udp" || name == "relay" }
	open := func(name string, port uint16) bool {
		if isUDP(name) {
			return n.echoes(n.client, at(asClient, port))
		}
		return n.reaches(n.client, at(asClient, port))
	}
	closed := func(when string, ports map[string]uint16) {
		t.Helper()
		for name, port := range ports {
			stranger := n.reaches
			if isUDP(name) {
				stranger = n.echoes
			}
			if open(name, port) || stranger(n.stranger, at(asStranger, port)) {
				t.Errorf("%s: %s is open at port %d", when, name, port)
			}
		}
		if n.reaches(n.client, at(asClient, 5400)) || n.echoes(n.client, at(asClient, 5400)) || n.reaches(n.stranger, at(asStranger, 5400)) {
			t.Errorf("%s: the real port is open", when)
		}
	}
	opened := func(when string) map[string]uint16 {
		t.Helper()
		ports := map[string]uint16{}
		for _, name := range all {
			ports[name] = n.knockDrawn(name)
			n.await(when+": "+name, func() bool { return open(name, ports[name]) })
		}
		if n.reaches(n.client, at(asClient, 5400)) || n.echoes(n.client, at(asClient, 5400)) {
			t.Errorf("%s: the real port is open to the peer of a lease", when)
		}
		return ports
	}
	neighbours := func(ports map[string]uint16) (tcp, udp []int) {
		for name, port := range ports {
			list := &tcp
			if isUDP(name) {
				list = &udp
			}
			*list = append(*list, int(port)-1, int(port), int(port)+1)
		}
		return tcp, udp
	}
	ports := opened("first")
	// Each line of a scan is the same, but for the number of the port. On a busy machine,
	// nmap may miss answers; a real difference occurs each time.
	tcp, udp := neighbours(ports)
	different := ""
	for range 5 {
		if different = difference(n.scan(tcp, udp)); different == "" {
			break
		}
	}
	if different != "" {
		t.Errorf("a scan shows a difference:\n%s", different)
	}
	for _, port := range ports {
		if n.reaches(n.stranger, at(asStranger, port)) || n.echoes(n.stranger, at(asStranger, port)) {
			t.Errorf("a stranger gets in at port %d", port)
		}
	}
	// The rules are flushed: the holder restores them, with the drawn ports of leases.
	before := n.counted("restored")
	n.run(nil, "nft", "flush", "ruleset")
	n.await("the table", func() bool { return n.logged("restored") > before })
	for name, port := range ports {
		n.await(name+" after a flush", func() bool { return open(name, port) })
	}
	// The server is killed.
	n.server.Process.Kill()
	n.server.Wait()
	n.server = nil
	n.await("the holder to close everything", func() bool { return n.logged("server connection lost; everything is closed") == 1 })
	closed("after the server was killed", ports)
	n.serve()
	closed("with the next server", ports)
	ports = opened("with the next server")
	// The holder is killed.
	holder.Process.Kill()
	holder.Wait()
	n.await("the server to notice", func() bool { return n.logged("firewall holder lost") == 1 })
	n.hold()
	n.await("the next holder", func() bool { return n.logged("firewall holder connected") == 1 })
	for name, port := range ports {
		n.await(name+" with the next holder", func() bool { return open(name, port) })
	}
	if err := n.stop(); err != nil {
		t.Errorf("the server stopped with %v", err)
	}
	closed("after the server has stopped", ports)
}

// difference returns the part of a scan whose ports are not all alike; empty: they are.
func difference(scan string) string {
	for part := range strings.SplitSeq("\n"+scan, "\n-s") { // names of ports have this text too
		kinds := map[string]bool{}
		for line := range strings.Lines(part) {
			if _, state, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				kinds[strings.Join(strings.Fields(state)[:1], "")+" "+lastWords(state)] = true
			}
		}
		if len(kinds) > 1 {
			return "-s" + part
		}
	}
	return ""
}

// lastWords returns the reason of a line of nmap, without the service's name.
func lastWords(line string) string {
	f := strings.Fields(line)
	return strings.Join(f[max(len(f)-3, 2):], " ")
}

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/profile"
	"sallyport/verify/schedule"
)

// beforeTurn waits until a time before the end of a minute, and returns that minute.
func beforeTurn(left time.Duration) schedule.Minute {
	m := schedule.MinuteOf(time.Now().Add(left))
	time.Sleep(time.Until((m + 1).Start().Add(-left)))
	return m
}

// recorded returns the values of SALLYPORT_PORT of the commands of a service and an
// event, in order.
func (n *network) recorded(service, event string) (ports []string) {
	n.t.Helper()
	text, err := os.ReadFile(n.path("made/" + service))
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") || !strings.Contains(line, "SALLYPORT_EVENT="+event) {
			continue
		}
		_, port, _ := strings.Cut(line, "SALLYPORT_PORT=")
		port, _, _ = strings.Cut(port, `"`)
		ports = append(ports, port)
	}
	return ports
}

// TestRotatingTurn: the minute ends, and the port secret is replaced, between the
// knocks and the connection. The program behind the service has not begun to listen
// before. The client connects to the port of its knocks, which the lease keeps.
func TestRotatingTurn(t *testing.T) {
	long(t)
	misbehave, ok := enterPrograms(t)
	if !ok {
		return
	}
	const left = 15 * time.Second // in which a busy machine starts the client, and knocks
	n := newProgramNetwork(t, func(n *network) string {
		hooks := func(service string) string {
			record := fmt.Sprintf("[%q, \"-record\", %q]", misbehave, n.path("made/"+service))
			return fmt.Sprintf("on_open = %s\non_close = %s\ncommand_user = %q\nopen_for = \"1h\"\nopen_max = \"1h\"\n", record, record, commandUser)
		}
		return fmt.Sprintf(`stealth = true
[[service]]
name = "site"
type = "process"
listen = ":0"
port = "rotate"
program = [%q, "-listen", "127.0.0.1:8081", "-listen-after", %q]
program_user = %q
upstream = "127.0.0.1:8081"
start_within = "5m"
connections = "keep"
%s
[[service]]
name = "pour"
type = "firewall"
listen = ":5400"
port = "rotate"
jump = "my-rules"
connections = "cut"
%s`, misbehave, left+2*time.Second, programUser, hooks("site"), hooks("pour"))
	}, "site=site", "pour=pour", "pour2=pour")
	n.echo("[::]:5400")
	rules := func(rule string) {
		t.Helper()
		n.write("rules.nft", "add table inet sallyport\nadd chain inet sallyport my-rules\nflush chain inet sallyport my-rules\nadd rule inet sallyport my-rules "+rule+"\n")
		n.run(nil, "nft", "-f", n.path("rules.nft"))
	}
	rules("counter accept")
	n.serve()
	sallyport, sallyportd, config := n.path("sallyport"), n.path("sallyportd"), n.path("gate/sallyportd.toml")

	m := beforeTurn(left)
	rolled := make(chan string, 1)
	go func() {
		time.Sleep(time.Until((m + 1).Start().Add(-time.Second)))
		out, err := n.try(nil, sallyportd, "port-secret", "roll", "-c", config, "--for", "24h")
		rolled <- fmt.Sprintf("%s%v", out, err)
	}()
	port := n.drawn("site", m)[0]
	out := n.run(n.client, sallyport, "run", n.path("site.toml"), "--timeout", "5m", "--",
		"curl", "-s", "http://{host}:{port}/", "-w", " remote=%{remote_port}")
	if now := schedule.MinuteOf(time.Now()); now == m {
		t.Error("the minute has not ended")
	}
	if !strings.Contains(out, "the program serves") || !strings.HasSuffix(out, fmt.Sprintf(" remote=%d", port)) {
		t.Errorf("got %s, want a page at port %d", out, port)
	}
	if text := <-rolled; !strings.HasSuffix(text, "<nil>") {
		t.Fatal(text)
	}
	if n.reaches(n.stranger, at(asStranger, port)) {
		t.Error("a stranger reaches the program")
	}
	// Another opening has another port, for each port secret, and the lease keeps its own.
	p, err := profile.Load(n.path("site.toml"))
	if err != nil {
		t.Fatal(err)
	}
	n.run(nil, sallyportd, "client", "profile", p.Identifier.String(), "-c", config, "--out", n.path("new.toml"))
	ports := []uint16{port, n.knockDrawn("site"), n.knockDrawn("new")}
	for _, port := range ports {
		n.await(fmt.Sprintf("the page of port %d of %d", port, ports), func() bool {
			return strings.Contains(n.page(n.client, at(asClient, port), "/"), "the program serves")
		})
	}
	if got := n.recorded("site", "open"); fmt.Sprint(got) != fmt.Sprint(ports) {
		t.Errorf("opening commands have the ports %s, want %d", got, ports)
	}

	// The operator's chain sees the packets to a drawn port of another program.
	drawn := n.knockDrawn("pour")
	n.opens(n.client, at(asClient, drawn))
	list := n.run(nil, "nft", "list", "chain", "inet", "sallyport", "my-rules")
	if strings.Contains(list, "packets 0 ") {
		t.Errorf("the chain has seen no packet:\n%s", list)
	}
	rules("counter drop")
	if n.reaches(n.client, at(asClient, drawn)) {
		t.Error("the operator's chain does not drop")
	}
	rules("counter accept")
	n.opens(n.client, at(asClient, drawn))
	if n.reaches(n.client, at(asClient, 5400)) || n.reaches(n.stranger, at(asStranger, drawn)) {
		t.Error("open at the real port, or to a stranger")
	}

	// A client is revoked, whose lease of the same address and port has ended: that of
	// another client stays.
	p, err = profile.Load(n.path("pour.toml"))
	if err != nil {
		t.Fatal(err)
	}
	n.run(nil, sallyportd, "lease", "close", "-c", config, "--service", "pour")
	n.await("the end of the lease", func() bool { return len(n.recorded("pour", "close")) == 1 })
	drawn = n.knockDrawn("pour2")
	n.run(nil, sallyportd, "client", "revoke", p.Identifier.String(), "-c", config)
	n.opens(n.client, at(asClient, drawn))

	n.run(nil, sallyportd, "lease", "close", "-c", config, "--all", "--cut")
	n.await("the closing commands", func() bool {
		return len(n.recorded("site", "close")) == len(ports) && len(n.recorded("pour", "close")) == 2
	})
	n.await("the end of the program", func() bool { return len(n.running(misbehave)) == 0 })
	for _, port := range append(ports, drawn) {
		if n.reaches(n.client, at(asClient, port)) {
			t.Errorf("port %d is open after the leases", port)
		}
	}
}

package main

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/verify/schedule"
)

// TestTakenKnockPort: another program of the server's host holds a knock port of this
// minute. The client gets in by the ports of the previous minute.
func TestTakenKnockPort(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure("[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \"[::]:8080\"\n"+
		"[[service]]\nname = \"dns\"\ntype = \"proxy\"\nprotocol = \"udp\"\nlisten = \":5300\"\nupstream = \"127.0.0.1:53\"\n", "web=web", "dns=dns")
	secret, err := os.ReadFile(n.path("gate/port_secret"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ports, err := schedule.Ports(schedule.Algorithm1, strings.TrimSpace(string(secret)), schedule.MinuteOf(now), 3)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(ports[1])})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	n.serve()
	var out string
	n.await("the service to open in time", func() bool {
		if strings.Contains(n.settled(), "msg=opened service=web ") {
			n.closes("web") // a busy machine opened it too late
		}
		out, err = n.try(n.client, n.path("sallyport"), "knock", n.path("web.toml"), "-v", "--no-wait", "--attempts", "2", "--timeout", "2s")
		return err == nil
	})
	if !strings.Contains(out, "open: "+asClient+":8080") {
		t.Fatalf("%s\n%s", out, n.log())
	}
	// A UDP service is not watched: all sequences go out, and one of them opens it.
	dns, err := n.tryKnock("dns", "-v")
	if err != nil || !strings.Contains(dns, "sent: ") {
		t.Errorf("%v, %s", err, dns)
	}
	n.await("the grant", func() bool { return strings.Contains(n.log(), "msg=opened service=dns") })
	if schedule.MinuteOf(time.Now()) != schedule.MinuteOf(now) {
		return // the ports of the new minute are free
	}
	if !strings.Contains(out, "of the previous minute") || !strings.Contains(out, "(attempt 2)") {
		t.Errorf("printed %s", out)
	}
	if !strings.Contains(n.settled(), "failed to open knock ports") {
		t.Errorf("the server does not report the port:\n%s", n.log())
	}
}

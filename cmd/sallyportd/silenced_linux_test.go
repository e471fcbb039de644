package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/gate/heldport"
)

// TestSilencedPrograms: programs and devices of the kernel that stealth silences
// are found, except those that are excepted, that only this host reaches, or that
// receive from one address.
func TestSilencedPrograms(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, at := range []string{"0.0.0.0:51820", "[::]:5353", "0.0.0.0:6000", "127.0.0.1:6001", "0.0.0.0:1024", "0.0.0.0:8080"} {
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	connected, err := net.DialUDP("udp", &net.UDPAddr{Port: 6002}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6001})
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	process := fmt.Sprintf("(process %d)", os.Getpid())
	want := "5353, P; 51820, P"
	vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0"}, VxlanId: 5, Port: 8472}
	if netlink.LinkAdd(vxlan) == nil && netlink.LinkSetUp(vxlan) == nil {
		want = "5353, P; 8472, the kernel, such as WireGuard or VXLAN; 51820, P"
		if !seesAllProcesses(t) {
			want = strings.Replace(want, "VXLAN", "VXLAN, or a program of root", 1)
		}
	}
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	want = strings.ReplaceAll(want, "P", fmt.Sprintf("%q %s", strings.TrimSpace(string(name)), process))
	// "sallyportd" runs no server here: no port is a knock port by chance.
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	udp := "[[service]]\nname = \"dns\"\ntype = \"proxy\"\nprotocol = \"udp\"\nlisten = \":8080\"\nupstream = \"127.0.0.1:53\"\n"
	cfg := configtest.Parse(t, "", "stealth = true\nstealth_except = [6000]\n"+udp)
	found := checkSilenced(cfg, false, now)
	if len(found) != 1 || !strings.HasSuffix(found[0].Text, want) || !strings.Contains(found[0].Hint, "5353, 6000, ") {
		t.Errorf("got %+v, want %s", found, want)
	}
	cfg = configtest.Parse(t, "", "stealth_except = [6000]\n"+udp)
	if found := checkSilenced(cfg, false, now); len(found) > 0 {
		t.Errorf("without stealth: %+v", found)
	}
	found = checkSilenced(cfg, true, now)
	if len(found) != 1 || found[0].Severity != advice || !strings.HasSuffix(found[0].Text, want) {
		t.Errorf("recommended: %+v", found)
	}
}

// seesAllProcesses reports whether the sockets of all processes have a name here.
func seesAllProcesses(t *testing.T) bool {
	list, err := heldport.Receivers()
	if err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(list, func(r heldport.Receiver) bool { return strings.HasSuffix(r.By, "a program of root") })
}

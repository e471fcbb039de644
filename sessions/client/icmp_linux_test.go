package client

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// TestBlockedOnTheWay: a router rejects the knocks by ICMP. The hints name this, and
// the client makes no further attempt, if they come for all.
func TestBlockedOnTheWay(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	router := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "cli", Addresses: []string{"198.51.100.2/24"}}, router, netns.End{Name: "rtr", Addresses: []string{"198.51.100.1/24"}})
	_, beyond, err := net.ParseCIDR("203.0.113.0/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: beyond, Gw: net.IPv4(198, 51, 100, 1)}); err != nil {
		t.Fatal(err)
	}
	err = router.Do(func() error {
		for key, value := range map[string]string{"ip_forward": "1", "icmp_ratelimit": "0"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+key, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	forbid := &netlink.Route{Dst: beyond, Type: unix.RTN_PROHIBIT}
	if err := router.Do(func() error { return netlink.RouteAdd(forbid) }); err != nil {
		t.Fatal(err)
	}
	p := profile()
	p.Server, p.Service = "203.0.113.1", ":80"
	var offline *OfflineError
	netns.Until(t, "an ICMP error in time", func() bool {
		_, err := Knock(t.Context(), Config{
			Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Timeout: 500 * time.Millisecond,
			NoWait: true, Now: time.Now,
		})
		if !errors.As(err, &offline) || offline.Attempts > 2 {
			t.Fatalf("got %v", err)
		}
		return strings.Contains(offline.Hint(), "(prohibited) came for") && offline.Reason == ReasonKnocksProhibited
	})
	if hint := offline.Hint(); strings.Contains(hint, "no route to the server") {
		t.Errorf("hints:\n%s", hint)
	}
	// Without a route, this computer cannot send: one attempt is enough.
	p.Server = "192.0.2.1"
	_, err = Knock(t.Context(), Config{Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}, Now: time.Now})
	if !errors.As(err, &offline) || offline.Attempts != 1 || !strings.Contains(offline.Hint(), "no route to the server") {
		t.Errorf("got %v", err)
	}
}

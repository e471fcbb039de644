package heldport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/hostevents"
)

func TestUDPIsExclusive(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	loopback(t)
	for _, address := range []string{":8080", "[::1]:8081", "127.0.0.1:8082", "192.0.2.1:8083"} {
		t.Run(address, func(t *testing.T) {
			held, err := BindUDP(address, noControl)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { held.Close() }()
			addr := held.addr
			targets := []string{addr.String()}
			if addr.Addr().IsUnspecified() {
				targets = nil
				for _, a := range []string{"127.0.0.1", "::1", "192.0.2.1", "127.0.0.9"} {
					targets = append(targets, net.JoinHostPort(a, fmt.Sprint(addr.Port())))
				}
			}
			check := func(when string, open bool) {
				t.Helper()
				for _, how := range tryPort(t, unix.SOCK_DGRAM, addr.Port()) {
					if concerns(how, addr.Addr()) {
						t.Errorf("%s: another user %s", when, how)
					}
				}
				for _, target := range targets {
					if closed := refused(t, target); closed == open {
						t.Errorf("%s: %s refuses datagrams: %t", when, target, closed)
					}
				}
			}
			check("before", false)
			for range 3 {
				conn, err := held.Listen()
				if err != nil {
					t.Fatal(err)
				}
				check("open", true)
				conn.SetReadDeadline(netns.Deadline(t))
				for range targets {
					if _, _, err := conn.ReadFromUDPAddrPort(make([]byte, 16)); err != nil {
						t.Errorf("a datagram does not come: %v", err)
					}
				}
				if err := held.StopListening(); err != nil {
					t.Fatal(err)
				}
				check("closed", false)
			}
			var used *InUseError
			second, err := BindUDP(address, noControl)
			if !errors.As(err, &used) || !strings.Contains(used.By, fmt.Sprint(os.Getpid())) {
				t.Errorf("a second server: %v, %v", second, err)
			}
			held.Close()
			if held, err = BindUDP(address, noControl); err != nil {
				t.Fatalf("restart: %v", err)
			}
			check("after a restart", false)
		})
	}
}

// TestNewAddress: the port is held at a new address, too, open or closed, and
// released at a removed one.
func TestNewAddress(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	held, err := BindUDP(":8080", noControl)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	done, ended := make(chan struct{}), make(chan struct{})
	events := make(chan struct{}, 64)
	go func() {
		defer close(ended)
		hostevents.Watch(done, hostevents.Addresses, 0, time.Second, func() { events <- struct{}{} })
	}()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-events:
				if err := held.UpdateAddresses(); err != nil {
					t.Fatal(err)
				}
			case <-t.Context().Done():
				t.Fatal(what)
			}
		}
	}
	has := func(a string) func() bool {
		return func() bool { _, ok := held.held[heldAt{Addr: netip.MustParseAddr(a)}]; return ok }
	}
	for i, open := range []bool{false, true} {
		if open {
			if _, err := held.Listen(); err != nil {
				t.Fatal(err)
			}
		}
		a := fmt.Sprintf("192.0.2.%d", i+1)
		if err := addAddress(lo, a+"/32"); err != nil {
			t.Fatal(err)
		}
		await("a new address", has(a))
		address, _ := netlink.ParseAddr(a + "/32")
		if err := netlink.AddrDel(lo, address); err != nil {
			t.Fatal(err)
		}
		await("an address is gone", func() bool { return !has(a)() })
	}
	close(done)
	<-ended
}

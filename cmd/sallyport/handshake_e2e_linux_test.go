package main

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// handshakeService is a service for which an administrator gives out profiles.
type handshakeService struct {
	name string
	keys string // of the configuration, with the service
	port string
	// claims: the profile has handshake = "granted" on each host; never: on none.
	// Neither: that depends on the kernel.
	claims, never bool
}

const (
	behindFirewall = "[[service]]\nname = \"s\"\nopen_for = \"1h\"\nopen_max = \"1h\"\ntype = \"firewall\"\nlisten = \":2222\"\n"
	webServer      = "[[service]]\nname = \"s\"\nopen_for = \"1h\"\nopen_max = \"1h\"\ntype = \"web\"\nlisten = \":8080\"\n"
	proxyServer    = "[[service]]\nname = \"s\"\nopen_for = \"1h\"\nopen_max = \"1h\"\ntype = \"proxy\"\nupstream = \"127.0.0.1:2222\"\nlisten = \":8080\"\n"
	otherFirewall  = "[[service]]\nname = \"other\"\ntype = \"firewall\"\nlisten = \":2223\"\n"
	viaListener    = "8080"
	viaFirewall    = "2222"
)

var handshakeServices = []handshakeService{
	{name: "firewall", keys: behindFirewall, port: viaFirewall, claims: true},
	{name: "firewall that rejects", keys: behindFirewall + "policy = \"reject\"\n", port: viaFirewall, claims: true},
	{name: "firewall at input", keys: behindFirewall + "hook = \"input\"\n", port: viaFirewall, claims: true},
	{name: "firewall that cuts", keys: behindFirewall + "connections = \"cut\"\n", port: viaFirewall, claims: true},
	{name: "firewall with sequence numbers", keys: behindFirewall + "bind = \"isn\"\n", port: viaFirewall, claims: true},
	{name: "firewall for networks", keys: behindFirewall + "grant_prefix6 = 64\n", port: viaFirewall, claims: true},
	{name: "firewall for anyone", keys: behindFirewall + "open_to = \"anyone\"\n", port: viaFirewall, never: true},
	{name: "web", keys: webServer, port: viaListener},
	{name: "web beside the firewall", keys: webServer + otherFirewall, port: viaListener, claims: true},
	{name: "web with stealth", keys: "stealth = true\n" + webServer, port: viaListener, claims: true},
	{name: "filtered web", keys: webServer + "look = \"filtered\"\n", port: viaListener, claims: true},
	{name: "filtered web for anyone", keys: webServer + "look = \"filtered\"\nopen_to = \"anyone\"\n", port: viaListener, never: true},
	{name: "proxy", keys: proxyServer, port: viaListener},
	{name: "proxy beside the firewall", keys: proxyServer + otherFirewall, port: viaListener, claims: true},
	{name: "filtered proxy", keys: proxyServer + "look = \"filtered\"\n", port: viaListener, claims: true},
	{name: "filtered proxy for networks", keys: proxyServer + "look = \"filtered\"\ngrant_prefix6 = 64\n", port: viaListener, claims: true},
	{name: "proxy for anyone", keys: proxyServer + "open_to = \"anyone\"\n", port: viaListener, never: true},
}

// TestHandshakeGranted: for each kind of service, look and policy, while a client has a
// lease, and its own handshakes complete: the profile has handshake = "granted" if that
// of a stranger does not complete, and only then. A service of type "process" has the listener of the others.
func TestHandshakeGranted(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	serveBanner(t, ":2222")
	for _, s := range handshakeServices {
		t.Run(s.name, func(t *testing.T) {
			if err := os.RemoveAll(n.path("gate")); err != nil {
				t.Fatal(err)
			}
			os.Remove(n.path("alice.toml"))
			n.t = t
			n.configure(s.keys, "alice")
			p, err := profile.Load(n.path("alice.toml"))
			if err != nil {
				t.Fatal(err)
			}
			claims := p.Handshake == client.HandshakeGranted
			if s.claims && !claims || s.never && claims {
				t.Errorf("the profile has handshake = %q", p.Handshake)
			}
			if p.OpenFor != time.Hour {
				t.Errorf("the profile has open_for = %q", p.OpenFor)
			}
			n.serve()
			defer func() { // the table would hide the next service
				n.stop()
				n.try(nil, n.path("sallyportd"), "firewall", "clear", "-c", n.path("gate/sallyportd.toml"))
			}()
			if p.Bind == client.BindISN {
				n.run(n.client, n.path("sallyport"), "connect", n.path("alice.toml"))
			} else {
				n.run(n.client, n.path("sallyport"), "knock", n.path("alice.toml"))
				defer n.mustShake(n.client, net.JoinHostPort(asClient, s.port)) // the lease has not ended meanwhile
			}
			for _, at := range []string{asStranger, "2001:db8:1::1"} {
				err := n.shake(n.stranger, net.JoinHostPort(at, s.port), 500*time.Millisecond)
				if claims == (err == nil) {
					t.Errorf("the profile has handshake = %q, and the handshake of a stranger with %s ends with: %v", p.Handshake, at, err)
				}
			}
		})
	}
}

// serveBanner is another program of the server's host.
func serveBanner(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("hello\n"))
			c.Close()
		}
	}()
}

// shake completes a TCP handshake from a host within a time. A reset after it is no error.
func (n *network) shake(from *netns.Host, to string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(n.t.Context(), within)
	defer cancel()
	return from.Do(func() error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", to)
		if errors.Is(err, syscall.ECONNRESET) { // a reset instead of it is ECONNREFUSED
			return nil
		}
		if err == nil {
			c.Close()
		}
		return err
	})
}

func (n *network) mustShake(from *netns.Host, to string) {
	n.t.Helper()
	if err := n.shake(from, to, time.Until(netns.Deadline(n.t))); err != nil {
		n.t.Errorf("%v\nserver: %s", err, n.log())
	}
}

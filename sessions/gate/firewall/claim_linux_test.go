package firewall

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

func TestClaimAndClear(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	present := func(want bool) {
		t.Helper()
		if got, err := Present(); err != nil || got != want {
			t.Errorf("there is a table: %v, %v", got, err)
		}
	}
	present(false)
	w.must(Clear())
	// A table of our name that we did not make is refused.
	w.nft(`add table ip sallyport
		add chain ip sallyport input { type filter hook input priority 0; }
		add table inet other
		add set inet other granted4 { type ipv4_addr; }
		table inet sallyport {
			map m {
				type ipv4_addr : verdict
			}
			set granted4 {
				type ipv4_addr
			}
			counter c {
			}
			chain x {
				ip saddr @granted4 counter name c accept
			}
			chain input {
				type filter hook input priority 5
				jump x
				accept
			}
			chain output {
				type filter hook output priority 0; policy drop
			}
		}
`)
	w.echo(2000)
	if found, err := Inspect(); err != nil || found.Kind != Foreign {
		t.Errorf("a foreign table: %+v, %v", found, err)
	}
	otherOwner := (*OwnedError)(nil)
	_, err := Claim(withServices(Config{}), tester, false, now)
	if !errors.As(err, &otherOwner) || otherOwner.Kind != Foreign {
		t.Errorf("a foreign table: %v", err)
	}
	if _, err := Claim(withServices(Config{}), tester, true, now); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []Config{
		{Ports: []Port{{Protocol: TCP, Port: 2000}}, Stealth: true, Except: []uint16{5353, 5353}},
		{Ports: []Port{{Protocol: TCP, Port: 2000, Address: host4}}},
	} {
		f := w.claim(cfg)
		present(true)
		if w.open(client4, 2000) {
			t.Error("a claim opens")
		}
		w.must(f.grant(0, client4, time.Hour))
		if !w.open(client4, 2000) {
			t.Error("a grant does not open")
		}
	}
	if !w.open(client6, 2000) {
		t.Error("another address of this host is guarded too")
	}
	w.must(Clear())
	present(false)
	if !w.open(stranger4, 2000) {
		t.Error("what was cleared does not let pass")
	}
	w.nft("delete table ip sallyport\ndelete table inet other\n") // they are there
}

// TestClaimHasNoGap has a stranger send packets continuously while the table is
// claimed again and again.
func TestClaimHasNoGap(t *testing.T) {
	// Not parallel: a flood also displaces the packets of other tests.
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	here, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 3000})
	w.must(err)
	defer here.Close()
	ports := []Port{{Protocol: UDP, Port: 3000, Cut: true}}
	w.claim(Config{Ports: ports})
	var done atomic.Bool
	sent := make(chan error)
	go func() {
		var err error
		p := datagram(stranger4, host4, 4000, 3000, []byte("?"))
		to := w.to
		to.Protocol = htons(unix.ETH_P_IP)
		for err == nil && !done.Load() {
			err = unix.Sendto(w.wire, p, 0, &to)
		}
		sent <- err
	}()
	for i := range 100 {
		w.claim(Config{Ports: ports, Stealth: i%2 == 0})
	}
	done.Store(true)
	w.must(<-sent)
	// Packets that got in arrived before this.
	f := w.claim(Config{Ports: ports})
	w.must(f.grant(0, client4, time.Hour))
	w.probe(datagram(client4, host4, 4000, 3000, []byte("client")))
	b := make([]byte, 10)
	here.SetReadDeadline(netns.Deadline(w))
	n, err := here.Read(b)
	w.must(err)
	if string(b[:n]) != "client" {
		t.Error("a stranger's datagram got in")
	}
}

func TestMostPorts(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	var cfg Config
	for i := range MaxPorts {
		cfg.Ports = append(cfg.Ports, Port{Protocol: TCP, Port: uint16(1 + i), Address: host6})
	}
	for port := range 2000 {
		cfg.Except = append(cfg.Except, uint16(port))
	}
	cfg.Stealth = true
	for range 2 {
		if _, err := Claim(withServices(cfg), tester, false, now); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInvalidConfigurations(t *testing.T) {
	good := Port{Service: serviceOf(0), Protocol: TCP, Port: 22}
	for says, change := range map[string]func(*Port){
		"protocol 1 port 22": func(p *Port) { p.Protocol = 1 },
		"got 0":              func(p *Port) { p.Port = 0 },
		"224.0.0.1":          func(p *Port) { p.Address = netip.MustParseAddr("224.0.0.1") },
		"omit it":            func(p *Port) { p.Address = netip.IPv6Unspecified() },
		"::ffff:192.0.2.1":   func(p *Port) { p.Address = netip.MustParseAddr("::ffff:192.0.2.1") },
		"tcp port 22: it is": func(p *Port) { p.Address = host4 }, // the same again
	} {
		p := good
		p.Service = serviceOf(1)
		change(&p)
		if err := (Config{Ports: []Port{good, p}}).Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	udp := good
	udp.Protocol, udp.Service = UDP, serviceOf(1)
	if err := (Config{Ports: []Port{good, udp}}).Validate(); err != nil {
		t.Errorf("the same port of TCP and UDP: %v", err)
	}
	udp.Service = good.Service
	if err := (Config{Ports: []Port{good, udp}}).Validate(); err == nil {
		t.Error("two ports of one service: no error")
	}
	if err := (Config{Ports: make([]Port, MaxPorts+1)}).Validate(); err == nil {
		t.Error("too many ports: no error")
	}
}

// TestWithoutPrivilege removes the capability from a thread.
func TestWithoutPrivilege(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: it ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			failed <- err
			return
		}
		_, err := Claim(Config{}, tester, false, now)
		failed <- err
	}()
	if err := <-failed; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("without CAP_NET_ADMIN: %v", err)
	}
}

// TestLoopback: the table accepts packets that this host sends to itself.
func TestLoopback(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.echo(2000)
	w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Cut: true}}, Stealth: true})
	for _, a := range []netip.Addr{host4, host6, netip.IPv6Loopback()} {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(a, 2000).String(), 20*time.Second)
		if err != nil {
			t.Error(err)
			continue
		}
		c.Close()
	}
	if w.open(stranger4, 2000) || w.open(stranger6, 2000) {
		t.Error("a stranger gets in")
	}
}

package relay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/bench/netns"
)

const upstreamName = "upstream.example."

// names is a name server that knows one name.
type names struct {
	mu        sync.Mutex
	addresses []netip.Addr
	queries   int
}

// dialNameServer connects to the name server of a test; nil: to those of the host.
var dialNameServer atomic.Pointer[func(context.Context) (net.Conn, error)]

// The variable of package net is written only here: a query can outlive its test.
func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if dial := dialNameServer.Load(); dial != nil {
			return (*dial)(ctx)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

// resolve makes the process use a name server until the test ends.
func resolve(t *testing.T, dial func(context.Context) (net.Conn, error)) {
	t.Cleanup(func() { dialNameServer.Store(nil) })
	dialNameServer.Store(&dial)
}

// nameServer makes the process use a name server. Its tests do not run in parallel.
func nameServer(t *testing.T, addresses ...string) *names {
	t.Helper()
	n := &names{}
	n.set(addresses...)
	conn := socketAt(t, "udp", "127.0.0.1:0")
	conn.SetDeadline(time.Time{})
	go func() {
		b := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if answer := n.answer(b[:size]); answer != nil {
				conn.WriteToUDPAddrPort(answer, from)
			}
		}
	}()
	resolve(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	})
	return n
}

func (n *names) set(addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses = nil
	for _, a := range addresses {
		n.addresses = append(n.addresses, netip.MustParseAddr(a))
	}
}

func (n *names) answer(query []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	n.queries++
	q := m.Questions[0]
	m.Response, m.Additionals = true, nil
	for _, a := range n.addresses {
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			r.Body = &dnsmessage.AResource{A: a.As4()}
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, r)
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// named answers each datagram with a name, at an address.
func named(t *testing.T, name, address string) *net.UDPConn {
	t.Helper()
	c := socketAt(t, "udp", address)
	c.SetDeadline(time.Time{})
	go func() {
		b := make([]byte, readBuffer)
		for {
			_, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort([]byte(name), from)
		}
	}()
	return c
}

// freeUpstreamPort returns a port that is free at the addresses of the tests.
func freeUpstreamPort(t *testing.T) string {
	t.Helper()
	c := socketAt(t, "udp", "127.0.0.2:0")
	defer c.Close()
	return fmt.Sprint(c.LocalAddr().(*net.UDPAddr).Port)
}

// answers waits until a flow gets an answer of a name.
func answers(t *testing.T, c *net.UDPConn, name string) {
	t.Helper()
	netns.Until(t, "an answer of "+name, func() bool {
		c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		got, err := exchange(c, []byte("x"))
		return err == nil && string(got) == name
	})
}

// TestNextAddress: if an address of the upstream refuses the datagrams, the next
// one gets them, the first datagram included.
func TestNextAddress(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	nameServer(t, "127.0.0.2", "127.0.0.3", "::1", "127.0.0.4")
	port := freeUpstreamPort(t)
	named(t, "last", "127.0.0.4:"+port)
	_, _, at := serve(t, UDPConfig{Upstream: Upstream(upstreamName + ":" + port)}, "127.0.0.1:0")
	for range 3 {
		if got, err := exchange(client(t, "127.0.0.1", at), []byte("x")); err != nil || string(got) != "last" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// TestUpstreamMoves: a flow follows a name that gets another address, without an
// end of the flow.
func TestUpstreamMoves(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	for name, change := range map[string]func(old *net.UDPConn){
		"the old address refuses": func(old *net.UDPConn) { old.Close() },
		"the old address is silent": func(old *net.UDPConn) {
			old.SetReadDeadline(time.Unix(1, 0)) // its goroutine ends, and the socket stays
		},
		"the old address answers": func(*net.UDPConn) {},
	} {
		t.Run(name, func(t *testing.T) {
			n := nameServer(t, "127.0.0.2")
			port := freeUpstreamPort(t)
			old := named(t, "old", "127.0.0.2:"+port)
			u, _, at := serve(t, UDPConfig{Upstream: Upstream(upstreamName + ":" + port), checkTime: 50 * time.Millisecond, checkAge: 1}, "127.0.0.1:0")
			c := client(t, "127.0.0.1", at)
			answers(t, c, "old")
			flow := singleFlowOf(u)
			named(t, "new", "127.0.0.3:"+port)
			n.set("127.0.0.3")
			change(old)
			answers(t, c, "new")
			if singleFlowOf(u) != flow {
				t.Error("another flow's")
			}
		})
	}
}

// TestUpstreamStays: a flow whose upstream answers stays there while the name has
// that address.
func TestUpstreamStays(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	n := nameServer(t, "127.0.0.2")
	port := freeUpstreamPort(t)
	named(t, "old", "127.0.0.2:"+port)
	named(t, "new", "127.0.0.3:"+port)
	_, _, at := serve(t, UDPConfig{Upstream: Upstream(upstreamName + ":" + port), checkTime: time.Millisecond, checkAge: 1}, "127.0.0.1:0")
	c := client(t, "127.0.0.1", at)
	answers(t, c, "old")
	n.set("127.0.0.3", "127.0.0.2")
	for range 20 {
		time.Sleep(5 * time.Millisecond)
		c.SetDeadline(netns.Deadline(t))
		if got, err := exchange(c, []byte("x")); err != nil || string(got) != "old" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.queries < 6 {
		t.Errorf("%d queries: no check", n.queries)
	}
}

// TestSilentFromTheStart: a flow that never gets an answer tries each address.
func TestSilentFromTheStart(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	nameServer(t, "127.0.0.2", "127.0.0.3")
	port := freeUpstreamPort(t)
	socketAt(t, "udp", "127.0.0.2:"+port)
	named(t, "other", "127.0.0.3:"+port)
	_, _, at := serve(t, UDPConfig{Upstream: Upstream(upstreamName + ":" + port), checkTime: 50 * time.Millisecond, checkAge: 1}, "127.0.0.1:0")
	answers(t, client(t, "127.0.0.1", at), "other")
}

// TestFlowsShareAQuery: a flood of flows causes a query a second, for each family.
func TestFlowsShareAQuery(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	n := nameServer(t, "127.0.0.2")
	port := freeUpstreamPort(t)
	named(t, "up", "127.0.0.2:"+port)
	begin := time.Now() // the server asks at its start, too
	_, _, at := serve(t, UDPConfig{Upstream: Upstream(upstreamName + ":" + port)}, "127.0.0.1:0")
	for range 200 {
		answers(t, client(t, "127.0.0.1", at), "up")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if most := 2 * (2 + int(time.Since(begin)/newFlowAge)); n.queries > most {
		t.Errorf("%d queries, want at most %d", n.queries, most)
	}
}

// TestRefusalsAreLogged: once, not for each datagram; and not while another address
// of the upstream answers.
func TestRefusalsAreLogged(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	port := freeUpstreamPort(t)
	for _, upstream := range []string{"127.0.0.2:" + port, upstreamName + ":" + port} {
		nameServer(t, "127.0.0.2", "127.0.0.3")
		var mu sync.Mutex
		var log bytes.Buffer
		lines := func() string {
			mu.Lock()
			defer mu.Unlock()
			return log.String()
		}
		handler := slog.NewTextHandler(lockedWriter{&mu, &log}, nil)
		u := newUDP(UDPConfig{Upstream: Upstream(upstream), Allows: func(netip.Addr) bool { return true }, Log: slog.New(handler)})
		conn := socketAt(t, "udp", "127.0.0.1:0")
		conn.SetDeadline(time.Time{})
		go u.Serve(conn)
		c := client(t, "127.0.0.1", conn.LocalAddr().(*net.UDPAddr).AddrPort())
		netns.Until(t, "a line", func() bool {
			c.Write([]byte("x"))
			return strings.Contains(lines(), "upstream unreachable")
		})
		for range 20 {
			c.Write([]byte("x"))
			time.Sleep(time.Millisecond)
		}
		conn.Close()
		u.Close()
		got := lines()
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "upstream="+upstream) || !strings.Contains(got, "connection refused") {
			t.Errorf("logged %s", got)
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/state"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// The network of these tests: the server is this process, the client a host
// behind a veth pair.
//
//	this namespace                          the client's
//	srv 198.51.100.1, 2001:db8::1  <---->   cli 198.51.100.2, 2001:db8::2
//	    fe80::1                                 198.51.100.3, fe80::2
const (
	server4 = "198.51.100.1"
	server6 = "2001:db8::1"
	web     = "8080"
)

// hostClock is the time of the server's host, which tests step.
type hostClock struct {
	host *clocktest.Host
	base time.Time // the minute in which the test plays
}

func (c *hostClock) Now() time.Time { return c.host.Clock().Wall() }

// SetSecond steps the clock to a second of the test's first minute, or of a
// later one.
func (c *hostClock) SetSecond(s int) {
	now := c.Now()
	if c.base.IsZero() {
		c.base = now.Truncate(time.Minute)
	}
	c.host.Step(c.at(s).Sub(now))
}

// at returns a time in such a second. The clock goes on while a busy machine does other
// work: a stamp that must be of a second is taken from here.
func (c *hostClock) at(s int) time.Time {
	return c.base.Add(time.Duration(s)*time.Second + 100*time.Millisecond)
}

// pass lets the time pass until such a second, on all clocks.
func (c *hostClock) pass(s int) {
	c.host.Pass(max(c.at(s).Sub(c.Now()), 0))
}

func TestMain(m *testing.M) {
	faultfs.Main()
	netns.Together(4) // most of them wait, for leases or a network
	os.Exit(m.Run())
}

type world struct {
	clock   hostClock
	server  *Server
	host    *netns.Host
	capture *recording
	nonces  string
	list    clients.List
	// start starts the server, and stop stops it: another one with the same state follows.
	start, stop func()
}

// setup is what a test changes of the server.
type setup struct {
	ports     int
	generator schedule.Generator
	keys      string // more keys of the configuration
	web       string // and of its web server
	stateDir  string
	list      clients.List // com1 to com4
	lost      bool         // there is no state file
	now       time.Time    // of the world's clock; a change of it has no effect
	log       *slog.Logger
	pace      selftest.Pace // zero: no self-tests
}

// newWorld starts a server with clients com1 to com4 in the test's namespace.
func newWorld(t *testing.T, change func(*setup)) *world {
	t.Helper()
	w := &world{host: netns.NewHost(t), nonces: t.TempDir(), clock: hostClock{host: clocktest.NewHost()}}
	netns.Connect(t, netns.End{Name: "srv", Addresses: []string{server4 + "/24", server6 + "/64", "fe80::1/64"}},
		w.host, netns.End{Name: "cli", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64", "fe80::2/64"}})
	w.clock.SetSecond(20)
	set := setup{ports: 3, stateDir: t.TempDir(), log: slog.New(slog.DiscardHandler), now: w.clock.Now()}
	for i := range 4 {
		id := fmt.Sprintf("com%d", i+1)
		set.list = append(set.list, clients.Client{Identifier: wire.Identifier([]byte(id)), Secret: []byte("secret of " + id)})
	}
	if change != nil {
		change(&set)
	}
	cfg, err := config.Parse("c.toml", fmt.Appendf(nil, `
ports = %d
generator = "%s"
port_secret = "the port secret"
clients = "clients.txt"
readers = 2
state_dir = %q
%s
[[service]]
name = "web"
type = "web"
listen = "[::]:%s"
%s
`, set.ports, set.generator, set.stateDir, set.keys, web, set.web))
	if err != nil {
		t.Fatal(err)
	}
	if !set.lost {
		if err := state.Create(set.stateDir); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	w.list = set.list
	w.start = func() {
		t.Helper()
		var err error
		w.server, err = New(t.Context(), cfg, set.list, nil, Env{Clock: w.clock.host.Clock(), Log: set.log, SelfTest: set.pace})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func(s *Server) { done <- s.Run(ctx) }(w.server)
		<-w.server.Ready()
		w.stop = func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	w.capture = record(t, w.host, "cli")
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) profile(id, server string) client.Profile {
	return client.Profile{
		Server: server, PortSecret: "the port secret", Ports: 3, Service: ":" + web,
		Identifier: wire.Identifier([]byte(id)), Secret: []byte("secret of " + id),
	}
}

// knock lets the client library knock from the client's host, with a clock
// that is off by so much.
func (w *world) knock(ctx context.Context, p client.Profile, off time.Duration) (r client.Result, err error) {
	err = w.host.Do(func() error {
		r, err = client.Knock(ctx, client.Config{
			Profile: p, Nonces: client.NonceFile{Path: filepath.Join(w.nonces, p.Identifier.String())},
			Attempts: 1, Timeout: 5 * time.Minute, Now: func() time.Time { return w.clock.Now().Add(off) },
		})
		return err
	})
	return r, err
}

// send sends datagrams from the client's host, from one of its addresses.
func (w *world) send(t *testing.T, from, to string, packets []client.Packet) {
	t.Helper()
	err := w.host.Do(func() error {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)})
		if err != nil {
			return err
		}
		defer c.Close()
		for _, p := range packets {
			_, err := c.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(netip.MustParseAddr(to), p.Port))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sendSequence sends a client's knocks and does not wait for the grant.
func (w *world) sendSequence(t *testing.T, id string, base uint32) {
	t.Helper()
	packets, err := client.Sequence(w.profile(id, server4), w.clock.Now(), base)
	if err != nil {
		t.Fatal(err)
	}
	w.send(t, "198.51.100.2", server4, packets)
}

// get fetches a page from the client's host. It does not use http.Client,
// which dials on threads that are not in the host's namespace.
func (w *world) get(server, path string) (status int, err error) {
	return w.getBy(new(net.Dialer), server, path)
}

// getBy is get with a dialer that may give up.
func (w *world) getBy(d *net.Dialer, server, path string) (status int, err error) {
	err = w.host.Do(func() error {
		c, err := d.Dial("tcp", net.JoinHostPort(server, web))
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			return err
		}
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		status = r.StatusCode
		return err
	})
	return status, err
}

func (w *world) opened() uint64 { return w.server.sessions.Stats()[sessions.Opened] }

// listening reports whether the web server listens, without a packet on the
// wire. Its port is the server's at all times.
func (w *world) listening() bool {
	port, err := strconv.Atoi(web)
	if err != nil {
		panic(err)
	}
	sockets, err := os.ReadFile("/proc/thread-self/net/tcp6")
	if err != nil {
		panic(err)
	}
	const listens = " 00000000000000000000000000000000:0000 0A "
	return strings.Contains(string(sockets), fmt.Sprintf(" 00000000000000000000000000000000:%04X", port)+listens)
}

// moved waits until the server has followed the clock: the ports of a minute
// before and after now are open.
func (w *world) moved(t *testing.T) {
	t.Helper()
	w.until(t, "the ports of the moved clock", func() bool {
		for _, off := range []time.Duration{-50 * time.Second, 50 * time.Second} {
			ports, err := schedule.Ports(schedule.Algorithm1, "the port secret", schedule.MinuteOf(w.clock.Now().Add(off)), 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range ports {
				if c, err := net.ListenPacket("udp", fmt.Sprintf("[::]:%d", p)); err == nil {
					c.Close()
					return false
				}
			}
		}
		return true
	})
}

// sendUntil sends datagrams, and those that are lost again: a port that has just
// come may not be read yet.
func (w *world) sendUntil(t *testing.T, from string, packets []client.Packet, what string, ok func() bool) {
	t.Helper()
	looks := 0
	w.until(t, what, func() bool {
		if looks%100 == 0 {
			w.send(t, from, server4, packets)
		}
		looks++
		return ok()
	})
}

func (w *world) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	netns.Until(t, what, ok)
}

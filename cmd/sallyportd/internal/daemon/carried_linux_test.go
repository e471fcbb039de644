package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

// walled is a server with a firewall service, and a host from which clients come.
type walled struct {
	t    *testing.T
	dir  string
	host *netns.Host
	*Server
	helper *holder.Conn
	stop   func()
}

func newWalled(t *testing.T) *walled {
	t.Helper()
	w := &walled{t: t, dir: t.TempDir(), host: netns.NewHost(t)}
	addresses := make([]string, 40)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("198.51.100.%d/24", i+2)
	}
	netns.Connect(t, netns.End{Name: "srv", Addresses: []string{server4 + "/24"}}, w.host, netns.End{Name: "cli", Addresses: addresses})
	l, err := net.Listen("tcp", ":2222")
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
			go io.Copy(c, c)
		}
	}()
	w.write(config.FileName, "ports = 3\nport_secret = \"the port secret\"\nclients = \"clients.txt\"\n"+
		"[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":2222\"\npolicy = \"reject\"\nopen_for = \"1s\"\nopen_max = \"1s\"\n")
	w.write(config.ClientsName, "com1 secret-of-one 0\ncom2 secret-of-two 0\n")
	if err := state.Create(filepath.Join(w.dir, "state")); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *walled) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// start starts a server, and its holder.
func (w *walled) start() {
	w.t.Helper()
	cfg, err := config.Load(filepath.Join(w.dir, config.FileName), config.All)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := clients.Load(cfg.ClientsPath, cfg.SecretFiles, cfg.ServiceNames())
	if err != nil {
		w.t.Fatal(err)
	}
	var ended <-chan error
	w.helper, ended = inProcessHelper(w.t, cfg)
	w.Server, err = New(w.t.Context(), cfg, list, w.helper, Env{Clock: system, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	<-w.Ready()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
}

// open lets a client in from an address.
func (w *walled) open(client string, from int) {
	w.t.Helper()
	a := netip.AddrFrom4([4]byte{198, 51, 100, byte(from)})
	for _, err := range w.gate.Open([]sessions.Grant{{Identifier: wire.Identifier([]byte(client)), Address: a}}) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// dial connects from an address.
func (w *walled) dial(from int) (c net.Conn) {
	w.t.Helper()
	c, err := w.tryDial(from)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if !lives(c) {
		w.t.Fatal("no echo")
	}
	return c
}

func (w *walled) tryDial(from int) (c net.Conn, err error) {
	err = w.host.Do(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, byte(from))}}
		c, err = d.Dial("tcp", server4+":2222")
		return err
	})
	return c, err
}

// lives reports whether a connection is answered: the firewall resets it if not.
func lives(c net.Conn) bool {
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err == nil
}

// dies waits for the end of a connection, which takes a moment.
func (w *walled) dies(what string, c net.Conn) {
	w.t.Helper()
	netns.Until(w.t, "the end of the connection "+what, func() bool { return !lives(c) })
}

// revoke reads a clients file with only one client.
func (w *walled) keep(line string) {
	w.t.Helper()
	w.write(config.ClientsName, line+"\n")
	if _, err := w.Reload(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// TestRevokedAfterManyAddresses: a connection that the kernel carries ends with its
// client's rights, however many addresses the client has had since.
func TestRevokedAfterManyAddresses(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWalled(t)
	w.open("com1", 2)
	c := w.dial(2)
	w.open("com2", 41)
	other := w.dial(41)
	for i := range 35 {
		w.open("com1", 3+i)
	}
	w.keep("com2 secret-of-two 0")
	w.dies("of a client that is revoked", c)
	if !lives(other) {
		t.Error("the connection of a client that stays has ended")
	}
}

// TestRevokedWhileNoServerRuns: the next server cuts what the kernel still carries.
func TestRevokedWhileNoServerRuns(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWalled(t)
	w.open("com1", 2)
	c := w.dial(2)
	w.open("com2", 3)
	other := w.dial(3)
	w.stop()
	if !lives(c) {
		t.Fatal("a stop has ended a connection")
	}
	w.write(config.ClientsName, "com2 secret-of-two 0\n")
	w.start()
	w.dies("of a client that was revoked meanwhile", c)
	if !lives(other) {
		t.Error("the connection of a client that stays has ended")
	}
	w.stop()
	w.start()
	if !lives(other) {
		t.Error("the connection of a client that stays has ended")
	}
	w.keep("com1 secret-of-one 0")
	w.dies("of a client that is revoked two starts later", other)
}

// TestRevokedBehindASharedAddress: the kernel does not know to which client a
// connection belongs, so all connections from the address end, although
// another client still has a lease for it.
func TestRevokedBehindASharedAddress(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWalled(t)
	w.write(config.FileName, "ports = 3\nport_secret = \"the port secret\"\nclients = \"clients.txt\"\n"+
		"[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":2222\"\npolicy = \"reject\"\nopen_for = \"10m\"\nopen_max = \"10m\"\n")
	w.stop()
	w.start()
	w.open("com1", 2)
	c := w.dial(2)
	w.open("com2", 2)
	w.keep("com2 secret-of-two 0")
	w.dies("of a revoked client, behind an address that is open", c)
	// A connection that begins while the others are ended may end with them.
	netns.Until(t, "the other client connects again", func() bool {
		c, err := w.tryDial(2)
		if err == nil {
			defer c.Close()
		}
		return err == nil && lives(c)
	})
}

// TestSecretReplaced: a device without the client's new secret is cut off.
func TestSecretReplaced(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWalled(t)
	w.open("com1", 2)
	c := w.dial(2)
	w.keep("com1 another-secret 0 old=secret-of-one until=2999-01-01T00:00:00Z")
	if !lives(c) {
		t.Error("a rotation has ended a connection")
	}
	w.keep("com1 a-third-secret 0")
	w.dies("of a client whose secret is withdrawn", c)
}

// TestAddressesAreForgotten when nothing is connected from there.
func TestAddressesAreForgotten(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newWalled(t)
	w.open("com1", 2)
	c := w.dial(2)
	for i := range 10 {
		w.open("com1", 3+i)
	}
	if n := len(w.state.Leases()); n != 11 {
		t.Fatalf("%d addresses are recorded", n)
	}
	look := func() int {
		if err := w.carried.check(t.Context(), w.gate.Services, w.entitled, w.helper.Connected); err != nil {
			t.Fatal(err)
		}
		return len(w.state.Leases())
	}
	netns.Until(t, "only the address with a connection", func() bool { return look() == 1 })
	if !lives(c) || w.state.Leases()[0].Peer.Prefix.Addr() != netip.MustParseAddr("198.51.100.2") {
		t.Errorf("kept: %v", w.state.Leases())
	}
}

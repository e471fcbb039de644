package forward

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// connectedTo counts the descriptors of this process that are connected to an address.
func connectedTo(t *testing.T, to netip.AddrPort) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		peer, _ := unix.Getpeername(fd) // of a socket
		at, ok := peer.(*unix.SockaddrInet4)
		if ok && at.Addr == to.Addr().As4() && at.Port == int(to.Port()) {
			n++
		}
	}
	return n
}

// TestKnocksForDatagrams: a route for connections and datagrams. The knocks for datagrams,
// at the begin of a flow, at half of the lease and after silence, leave no connection.
func TestKnocksForDatagrams(t *testing.T) {
	back := listen(t)
	to := back.Addr().(*net.TCPAddr).AddrPort()
	silent, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	knocks, done := make(chan bool, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		done <- Serve(ctx, Config{
			OpenFor: 10 * time.Millisecond,
			Knock: func(ctx context.Context, r Request) (o Opened, err error) {
				o = Opened{Server: to.Addr(), Service: to}
				if r.Keep {
					var c net.Conn
					c, err = net.Dial("tcp4", to.String())
					o.Conn, _ = c.(Conn)
				}
				knocks <- r.Keep
				return o, err
			},
		}, []Route{{Streams: []net.Listener{listen(t)}, Packets: []PacketConn{socket}}})
	}()
	program, err := net.Dial("udp4", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	program.SetDeadline(netns.Deadline(t))
	count := 0
	netns.Until(t, "several knocks", func() bool {
		program.Write([]byte("x"))
		select {
		case <-knocks:
			count++
		default:
		}
		return count == burst
	})
	if got := connectedTo(t, to); got > 1 { // the socket of the flow
		t.Errorf("%d descriptors after %d knocks for datagrams, want 1", got, count)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := connectedTo(t, to); got != 0 {
		t.Errorf("%d descriptors at the end", got)
	}
}

package gate

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/sockfilter"
)

// TestHandshakes: while an enforcer admits as many peers as its socket's filter has room
// for, only their handshakes complete. With one more, the handshake of a stranger does
// too, and a reset follows, and the log reports that. Profiles rely on the first.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const at, client, stranger = "127.0.0.1:8080", "127.0.0.2", "127.0.0.3"
	for _, filtered := range []bool{false, true} {
		for peers, completes := range map[int]bool{1: false, sockfilter.Capacity(): false, sockfilter.Max + 1: true} {
			t.Run(fmt.Sprintf("filtered=%t,peers=%d", filtered, peers), func(t *testing.T) {
				var log bytes.Buffer // the handler locks it, and nothing writes after Apply
				tcp := NewTCP(TCPConfig{
					Listen: at, Filtered: filtered, PrefixLen6: 128, PerAddress: 9, Handler: echo{},
					Clock: system, Log: slog.New(slog.NewTextHandler(&log, nil)),
				})
				defer tcp.Close()
				if err := tcp.Prepare(); err != nil {
					t.Fatal(err)
				}
				changes := []access.Change{{Peer: access.PeerOf(netip.MustParseAddr(client), 128), Until: system.Boot().Add(time.Hour)}}
				for i := range peers - 1 {
					a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
					changes = append(changes, access.Change{Peer: access.PeerOf(a, 128), Until: system.Boot().Add(time.Hour)})
				}
				for _, err := range tcp.Apply(changes) {
					if err != nil {
						t.Fatal(err)
					}
				}
				if reported := strings.Contains(log.String(), "socket filter not in use"); reported != completes {
					t.Errorf("the log: %s", &log)
				}
				if err := shake(client, at, netns.Deadline(t)); err != nil {
					t.Errorf("the client: %v", err)
				}
				end := time.Now().Add(300 * time.Millisecond)
				if completes {
					end = netns.Deadline(t)
				}
				err := shake(stranger, at, end)
				var silence net.Error
				if completes && err != nil || !completes && (!errors.As(err, &silence) || !silence.Timeout()) {
					t.Errorf("a stranger: %v", err)
				}
			})
		}
	}
}

// shake completes a TCP handshake from an address. A reset after it is no error.
func shake(from, to string, end time.Time) error {
	c, err := (&net.Dialer{Deadline: end, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", to)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err == nil {
		c.Close()
	}
	return err
}

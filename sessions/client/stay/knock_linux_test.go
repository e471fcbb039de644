package stay

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// TestRenewalOfAnOpenService: the answer of a service that was open before proves
// nothing, so two sequences are sent. Its program sees no connection, and the nonces are
// those of no failed attempt. Without a watch, the client only sends.
func TestRenewalOfAnOpenService(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	service, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer service.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	nonces := client.NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	for _, watch := range []client.Watch{client.WatchDefault, client.WatchConnection, client.WatchNone} {
		var bases []uint32
		k := newKeeper(Config{Sequence: &client.Config{
			Profile: client.Profile{
				Server: "127.0.0.1", PortSecret: "portSecret", Ports: 3, Identifier: wire.Identifier([]byte("com1")), Secret: []byte("com1_secret"),
				Service: ":" + strconv.Itoa(service.Addr().(*net.TCPAddr).Port), Watch: watch,
			},
			Nonces: nonces, Attempts: 1, Now: time.Now,
			Report: func(e client.Event) {
				if e, ok := e.(client.Sent); ok {
					bases = append(bases, e.Base)
				}
			},
		}})
		result, addresses, err := k.byProtocol(t.Context(), Renewal)
		if watch == client.WatchNone {
			if len(bases) != 1 {
				t.Errorf("%d sequences without a watch (%+v, %v)", len(bases), result, err)
			}
			continue
		}
		if err != nil || !result.Watched || !result.OpenBefore {
			t.Fatalf("%q: %+v, %v", watch, result, err)
		}
		if len(bases) != 2 || bases[1] != bases[0]+3 {
			t.Errorf("%q: sequences with the nonces from %d", watch, bases)
		}
		if !slices.Equal(addresses, []netip.Addr{netip.MustParseAddr("127.0.0.1")}) {
			t.Errorf("%q: addresses %s", watch, addresses)
		}
	}
	select {
	case <-accepted:
		t.Error("the program saw a connection")
	default:
	}
}

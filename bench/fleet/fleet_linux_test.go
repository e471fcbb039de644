package fleet

import (
	"encoding/hex"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/bench/scenario"
	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// TestDelay: a connection to etcd takes the round trip of its link, one to the gateway does
// not take the same way.
func TestDelay(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	const trip = 40 * time.Millisecond
	s, err := newSite(1, 2, trip)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	}()
	for m := range 2 {
		l, err := net.Listen("tcp", memberAddress(1, m)+":2379")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		begin := time.Now()
		err = s.host.Do(func() error {
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				c.Close()
			}
			return err
		})
		if took := time.Since(begin); err != nil || took < trip {
			t.Errorf("member %d: %v after %s", m, err, took)
		}
	}
	l, err := net.Listen("tcp", "10.7.1.254:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.host.Do(func() error {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// TestKnocks: each attempt is that of another client, from its own address.
func TestKnocks(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	if err := routeClients(); err != nil {
		t.Fatal(err)
	}
	var profiles []client.Profile
	for i := range 4 {
		profiles = append(profiles, client.Profile{
			PortSecret: "port secret", Ports: ports, Identifier: scenario.ClientID(i), Secret: []byte("secret"),
		})
	}
	c, err := newClients(profiles)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	gateway := netip.MustParseAddr("127.0.0.1")
	for _, want := range []struct {
		all    bool
		client int
	}{{false, 0}, {true, 1}, {true, 3}, {false, 2}, {false, 0}} {
		for knocks := 0; knocks == 0; { // again if a minute has begun meanwhile
			next := c.next
			packets, err := client.Sequence(profiles[0], time.Now(), 1)
			if err != nil {
				t.Fatal(err)
			}
			var sockets []*net.UDPConn
			for _, p := range packets {
				l, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(gateway, p.Port)))
				if err != nil {
					t.Fatal(err)
				}
				sockets = append(sockets, l)
			}
			from, sent, err := c.knock(want.all, gateway)
			if err != nil || from != address(want.client) || sent.IsZero() {
				t.Errorf("client %d knocks from %s at %s: %v", want.client, from, sent, err)
			}
			for _, l := range sockets {
				l.SetReadDeadline(time.Now().Add(time.Second / 4))
				b := make([]byte, wire.Size+1)
				n, source, err := l.ReadFromUDPAddrPort(b)
				l.Close()
				if err != nil {
					continue
				}
				k, err := wire.Parse(b[:n])
				if err != nil || source.Addr() != from || k.Identifier != scenario.ClientID(want.client) {
					t.Errorf("from %s: %+v, %v", source, k, err)
				}
				knocks++
			}
			if knocks > 0 && knocks < ports {
				t.Errorf("%d of %d knocks arrived", knocks, ports)
			}
			if knocks == 0 {
				c.next = next
			}
		}
	}
}

// TestValue: the records that are written are those of the specification.
func TestValue(t *testing.T) {
	text, err := os.ReadFile("../../sessions/fleet/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Comment, Value string }
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	got := hex.EncodeToString(value(0x0102030405060708, 5, 0, 1))
	for _, v := range vectors {
		if v.Comment == "nonce 0" {
			if got != v.Value {
				t.Errorf("got  %s\nwant %s", got, v.Value)
			}
			return
		}
	}
	t.Error("the vector is gone")
}

package firewall

import (
	"net"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestSetSilence: stealth, its exceptions and the answers of ports change while
// grants, knock ports and connections stay, and the table is as if it was claimed
// so. A connection for which every packet requires the grant survives, although
// strangers' packets are answered with a reset.
func TestSetSilence(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const silent, excepted = 3002, 3003
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: 22, Reject: true, Cut: true}}}
	f := w.claim(cfg)
	w.must(f.grant(0, client4, time.Hour))
	w.must(f.OpenKnockPorts([]uint16{3001}, time.Hour))
	w.echo(22)
	c := w.connect(client4, 22)
	defer c.Close()
	// receives reports whether a stranger's datagram reaches a port.
	receives := func(port uint16, expected bool) bool {
		here, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		w.must(err)
		defer here.Close()
		w.send(datagram(stranger4, host4, 1000, port, []byte("x")))
		deadline := netns.Deadline(t)
		if !expected {
			w.alive(c) // the datagram came before
			deadline = time.Now().Add(50 * time.Millisecond)
		}
		w.must(here.SetReadDeadline(deadline))
		_, _, err = here.ReadFromUDPAddrPort(make([]byte, 16))
		return err == nil
	}
	is := f.cfg.Silence()
	for i, want := range []struct {
		stealth                    bool
		except                     []uint16
		silentReceives, exceptedIn bool
	}{
		{false, nil, true, true}, {true, nil, false, false}, {true, []uint16{excepted}, false, true}, {false, nil, true, true},
	} {
		is.Stealth, is.Except = want.stealth, want.except
		w.must(f.SetSilence(is))
		a, b := receives(silent, want.silentReceives), receives(excepted, want.exceptedIn)
		if a != want.silentReceives || b != want.exceptedIn {
			t.Errorf("step %d: %t, %t", i, a, b)
		}
		if !w.alive(c) {
			t.Fatalf("step %d: the connection is dead", i)
		}
		granted(t, f, 1)
		if r, err := f.Restore(); err != nil || r.Fault != "" {
			t.Errorf("step %d: the table is not intact: %+v, %v", i, r, err)
		}
		is = f.cfg.Silence()
	}
}

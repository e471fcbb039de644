package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// scans returns the packets that a stranger may send to a port.
func scans(from, to netip.Addr, port uint16) map[string][][]byte {
	s := map[string][][]byte{}
	for name, flags := range map[string]byte{
		"SYN": flagSYN, "ACK": flagACK, "FIN": flagFIN, "XMAS": flagFIN | flagPSH | flagURG, "NULL": 0,
		"SYN ACK": flagSYN | flagACK, "SYN FIN": flagSYN | flagFIN, "PSH ACK": flagPSH | flagACK, "RST": flagRST,
	} {
		s["TCP "+name] = [][]byte{segment(from, to, 30000, port, flags, nil)}
	}
	s["TCP data"] = [][]byte{segment(from, to, 30001, port, flagPSH|flagACK, []byte("GET / HTTP/1.0\r\n\r\n"))}
	// IPv6 requires all headers in the first fragment (RFC 7112).
	after := 8
	if from.Is6() {
		after = 24
	}
	s["TCP in fragments"] = fragments(from, to, segment(from, to, 30002, port, flagSYN, make([]byte, 8)), after)
	bad := segment(from, to, 30003, port, flagSYN, nil)
	bad[len(bad)-4] ^= 0xff // the checksum
	s["TCP bad checksum"] = [][]byte{bad}
	for _, size := range []int{0, 1, 48, 1000} {
		s[fmt.Sprintf("UDP %d bytes", size)] = [][]byte{datagram(from, to, 30004, port, make([]byte, size))}
	}
	s["UDP in fragments"] = fragments(from, to, datagram(from, to, 30005, port, make([]byte, 48)), 16)
	return s
}

// TestStrangersSeeNoDifference scans ports before, during and after a client's
// lease, with connections, as a stranger.
func TestStrangersSeeNoDifference(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const dropped, rejected, closed = 2000, 2001, 2002 // the last has no socket, and is not guarded
	for _, port := range []uint16{dropped, rejected} {
		w.echo(port)
	}
	var cfg Config
	for _, protocol := range []Protocol{TCP, UDP} {
		cfg.Ports = append(cfg.Ports, Port{Protocol: protocol, Port: dropped},
			Port{Protocol: protocol, Port: rejected, Reject: true})
	}
	f := w.claim(cfg)
	check := func(when string) {
		t.Helper()
		tracked := w.connections()
		for _, of := range [][2]netip.Addr{{stranger4, host4}, {stranger6, netip.MustParseAddr("2001:db8:1::1")}} {
			for name, packets := range scans(of[0], of[1], dropped) {
				if answers := w.probe(packets...); len(answers) > 0 {
					t.Errorf("%s: %s from %s to a port that drops: %x", when, name, of[0], answers)
				}
			}
			as := scans(of[0], of[1], closed)
			for name, packets := range scans(of[0], of[1], rejected) {
				got, want := normal(w.probe(packets...), rejected), normal(w.probe(as[name]...), closed)
				if want == "" && (name == "TCP SYN" || name == "UDP 48 bytes" || name == "UDP in fragments") {
					t.Errorf("%s: %s from %s to a closed port: no answer", when, name, of[0])
				}
				if got != want {
					t.Errorf("%s: %s from %s to a port that rejects:\n%s\na closed one:\n%s", when, name, of[0], got, want)
				}
			}
		}
		// UDP to the closed port, which is not guarded, is tracked: from two
		// source ports of two addresses.
		if n := w.connections(); n > tracked+4 {
			t.Errorf("%s: %d connections are tracked, and were %d", when, n, tracked)
		}
	}
	check("before")
	for i := range cfg.Ports {
		for _, a := range []netip.Addr{client4, client6} {
			w.must(f.grant(i, a, time.Hour))
		}
	}
	for _, port := range []uint16{dropped, rejected} {
		for _, a := range []netip.Addr{client4, client6} {
			if c := w.connect(a, port); c == nil || !w.alive(c) {
				t.Errorf("port %d is closed to %s, which was granted", port, a)
			}
		}
	}
	check("during")
	w.must(f.Close())
	granted(t, f, 0)
	check("after")
}

// normal formats answers without the fields that differ between any two
// packets: the port, checksums, and the flow label of a closed port's TCP reset
// over IPv6, a hash, where nf_reject_ipv6 writes 0.
func normal(answers [][]byte, port uint16) (s string) {
	for _, a := range answers {
		a = bytes.Clone(a)
		if a[0]>>4 == 6 {
			clear(a[1:4])
		} else {
			clear(a[10:12])
		}
		h := transport(a)
		switch {
		case a[0]>>4 == 4 && a[9] == 6, a[0]>>4 == 6 && a[6] == 6:
			clear(h[16:18])
			if binary.BigEndian.Uint16(h) == port {
				clear(h[:2])
			}
		default: // ICMP, which quotes the packet
			clear(h[2:4])
			if a[0]>>4 == 4 {
				clear(a[4:6]) // identification
			}
			quoted := transport(h[8:])
			if a[0]>>4 == 4 {
				clear(h[8+4 : 8+6])
				clear(h[8+10 : 8+12])
			}
			if binary.BigEndian.Uint16(quoted[2:]) == port {
				clear(quoted[2:4])
				if len(quoted) >= 20 && (h[8]>>4 == 4 && h[8+9] == 6 || h[8]>>4 == 6 && h[8+6] == 6) {
					clear(quoted[16:18])
				} else {
					clear(quoted[6:8])
				}
			}
		}
		s += fmt.Sprintf("%x\n", a)
	}
	return s
}

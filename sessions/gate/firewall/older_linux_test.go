package firewall

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestOlderKernels runs without features that older kernels lack: labels of
// connections, and reject before routing. The port closes and opens all the
// same.
func TestOlderKernels(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	container := w.router()
	w.answering(container, 80)
	l, err := net.Listen("tcp", ":2000")
	w.must(err)
	defer l.Close()
	for _, can := range []abilities{{earlyReject: true}, {labels: true}, {}} {
		for _, reject := range []bool{false, true} {
			name := fmt.Sprintf("%+v, reject %v", can, reject)
			w.nft("flush ruleset\n" + tracking + `
				table ip nat {
					chain prerouting {
						type nat hook prerouting priority dstnat
						fib daddr type local meta l4proto { tcp, udp } th dport 8080 dnat to 172.17.0.2:80
					}
				}
			`)
			nat := string(w.run(nil, "list", "ruleset"))
			w.forget()
			var cfg Config
			for i, port := range []uint16{2000, 8080} {
				for j, protocol := range []Protocol{TCP, UDP} {
					cfg.Ports = append(cfg.Ports, Port{Service: serviceOf(2*i + j), Protocol: protocol, Port: port, Reject: reject})
				}
			}
			f, err := claim(cfg, tester, true, now, can)
			w.must(err)
			if f.can != can {
				t.Errorf("%s: it can %+v", name, f.can)
			}
			for i, protocol := range []Protocol{TCP, UDP} {
				if w.reaches(protocol, stranger4, host4, 8080) {
					t.Errorf("%s: %s: what is led elsewhere is open to all", name, protocol)
				}
				w.must(f.grant(2+i, client4, time.Hour))
				if !w.reached(protocol, client4, host4, 8080) || w.reaches(protocol, stranger4, host4, 8080) {
					t.Errorf("%s: %s: a grant does not open what is led elsewhere, or to all", name, protocol)
				}
			}
			if w.open(stranger4, 2000) || w.open(stranger6, 2000) {
				t.Errorf("%s: open to all", name)
			}
			w.must(f.grant(0, client4, time.Hour))
			there := w.connect(client4, 2000)
			here, err := acceptFrom(l, there)
			w.must(err)
			w.must(f.revoke(0, client4))
			lives := func() bool {
				_, err := there.Write([]byte("!"))
				w.must(err)
				w.probe()
				n := pending(t, here.(*net.TCPConn))
				_, err = here.Read(make([]byte, n))
				w.must(err)
				return n > 0
			}
			if !lives() {
				t.Errorf("%s: a connection does not outlive its lease", name)
			}
			// Without labels the kernel cannot distinguish a connection that a
			// grant let in from one that a stranger made in the gap.
			w.nft("flush ruleset\n" + nat)
			stranger := w.connect(stranger4, 2000)
			r, err := f.Restore()
			w.must(err)
			if want := 1 + map[bool]int{false: 1}[can.labels]; r.Cut != want {
				t.Errorf("%s: %+v, want %d connections cut", name, r, want)
			}
			if lives() != can.labels {
				t.Errorf("%s: after a gap a connection whose lease is over lives on, or does not", name)
			}
			_, err = stranger.Write([]byte("!"))
			w.must(err)
			w.probe()
			strangerHere, err := acceptFrom(l, stranger)
			w.must(err)
			if n := pending(t, strangerHere.(*net.TCPConn)); n != 0 {
				t.Errorf("%s: %d bytes of a stranger came in", name, n)
			}
			// None may send a packet again later, which the kernel would take for another
			// connection in the gap.
			for _, c := range []net.Conn{there, here, stranger, strangerHere} {
				w.must(errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()))
			}
		}
	}
}

package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"pgregory.net/rapid"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// sent is a packet that begins a connection, or a datagram. Each has another source port.
type sent struct {
	protocol Protocol
	from, to netip.Addr
	port     uint16
	number   uint32 // of a SYN
}

// model is what the table should do, without the kernel.
type model struct {
	cfg     Config
	granted map[int][]access.Peer
	arrives string // the interface
	// translated is a port of this host whose packets go to another one.
	translated, target netip.AddrPort
}

// passes reports whether a packet reaches a socket of this host, or is forwarded.
func (m model) passes(s sent) bool {
	if s.to == m.target.Addr() {
		return m.routed(s)
	}
	for i, p := range m.cfg.Ports {
		if p.Protocol != s.protocol || !isAt(p, s.to, s.port, true) {
			continue
		}
		// After translation, only a guard at this hook sees it.
		if m.leadsAway(s) && p.Hook == HookInput {
			continue
		}
		if !m.lets(i, s) {
			return false
		}
	}
	if m.leadsAway(s) {
		s.to, s.port = m.target.Addr(), m.target.Port()
		return m.routed(s)
	}
	for _, p := range m.cfg.Ports {
		if p.Protocol == s.protocol && isAt(p, s.to, s.port, true) {
			return true
		}
	}
	return s.protocol == TCP || !m.cfg.Stealth || s.port < 1025 || slices.Contains(m.cfg.Except, s.port)
}

func (m model) leadsAway(s sent) bool { return netip.AddrPortFrom(s.to, s.port) == m.translated }

// routed is passes for a packet to another host.
func (m model) routed(s sent) bool {
	for i, p := range m.cfg.Ports {
		if p.Protocol == s.protocol && p.Hook != HookInput && isAt(p, s.to, s.port, false) && !m.lets(i, s) {
			return false
		}
	}
	return true
}

func isAt(p Port, to netip.Addr, port uint16, own bool) bool {
	return slices.ContainsFunc(p.All(), func(a At) bool {
		return a.Ports.First <= port && port <= a.Ports.Last && (a.Address == to || own && !a.Address.IsValid())
	})
}

func (m model) lets(place int, s sent) bool {
	from := s.from
	for _, peer := range m.granted[place] {
		if peer.Prefix.Contains(from) && (peer.ISN == 0 || uint32(peer.ISN) == s.number) {
			return true
		}
	}
	t := m.cfg.Trusted[serviceOf(place)]
	return slices.Contains(t.Interfaces, m.arrives) ||
		slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(from) })
}

// modelPorts are ports at which the services of the model are, and their neighbours.
var modelPorts = []uint16{79, 80, 81, 1024, 1025, 2000, 2001, 2002, 2003, 8079, 8080, 8081, 60000, 60500, 61000, 61001}

// modelNumbers are the initial sequence numbers of the model.
var modelNumbers = []wire.ISN{1, 1 << 31, 0xffffffff}

func drawTrusted(t *rapid.T) (of Trusted) {
	list := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
		"198.51.100.2", "198.51.100.0/24", "198.51.100.2/31", "198.51.96.0/20", "10.8.0.0/24", "2001:db8::/64", "2001:db8::2",
		"2001:db8::/47", "fd00::/8", "inner", "other0",
	}), 0, 3, rapid.ID).Draw(t, "trusted")
	of, err := ParseTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return of
}

func drawTrust(t *rapid.T, services int) map[access.ServiceID]Trusted {
	all := map[access.ServiceID]Trusted{}
	for i := range services {
		all[serviceOf(i)] = drawTrusted(t)
	}
	return all
}

// drawConfig draws services that do not overlap.
func drawConfig(t *rapid.T, addresses []netip.Addr) (cfg Config) {
	bounds := rapid.SliceOfNDistinct(rapid.SampledFrom(modelPorts), 2, 9, rapid.ID).Draw(t, "bounds")
	slices.Sort(bounds)
	services := rapid.IntRange(1, 3).Draw(t, "services")
	cfg.Ports = make([]Port, services)
	for i := range cfg.Ports {
		cfg.Ports[i] = Port{
			Protocol: rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(t, "protocol"),
			Hook:     rapid.SampledFrom([]Hook{HookPrerouting, HookForward, HookInput}).Draw(t, "hook"),
			Reject:   rapid.Bool().Draw(t, "reject"), Cut: rapid.Bool().Draw(t, "cut"),
		}
		p := &cfg.Ports[i]
		p.RequireISN = p.Protocol == TCP && !p.Cut && rapid.Bool().Draw(t, "ISN")
	}
	for i := 0; i < len(bounds); i++ {
		a := At{rapid.SampledFrom(addresses).Draw(t, "address"), access.Ports{First: bounds[i], Last: bounds[i]}}
		if i+1 < len(bounds) && rapid.Bool().Draw(t, "range") {
			i++
			a.Ports.Last = bounds[i]
		}
		p := &cfg.Ports[rapid.IntRange(0, services-1).Draw(t, "service")]
		if p.Port == 0 {
			p.Address, p.Port, p.Last = a.Address, a.Ports.First, a.Ports.Last
		} else {
			p.More = append(p.More, a)
		}
	}
	cfg.Ports = slices.DeleteFunc(cfg.Ports, func(p Port) bool { return p.Port == 0 })
	cfg.Trusted = drawTrust(t, len(cfg.Ports))
	if cfg.Stealth = rapid.Bool().Draw(t, "stealth"); cfg.Stealth && rapid.Bool().Draw(t, "except") {
		cfg.Except = []uint16{2003}
	}
	return withServices(cfg)
}

// TestModel compares the verdicts of the kernel with those of a model, for random
// services and packets, before and after the trusted peers change, and after another
// program has changed the table. nft loads its listing of each table as the same
// table.
func TestModel(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.router()
	container := netip.MustParseAddr("172.17.0.2")
	w.nft(`
		table ip nat {
			chain prerouting {
				type nat hook prerouting priority dstnat
				ip daddr 198.51.100.1 meta l4proto { tcp, udp } th dport 8080 dnat to 172.17.0.2:80
			}
		}
		table inet observer {
			set seen { type inet_service; flags dynamic; size 65535; }
			chain input { type filter hook input priority 50; ip saddr 198.51.100.0/24 add @seen { th sport }; ip6 saddr 2001:db8::/32 add @seen { th sport }; }
			chain forward { type filter hook forward priority 50; ip saddr 198.51.100.0/24 add @seen { th sport }; drop; }
		}
	`)
	other := netip.MustParseAddr("2001:db8:1::1") // of this host
	rapid.Check(t, func(r *rapid.T) {
		m := model{
			cfg: drawConfig(r, []netip.Addr{{}, {}, host4, host6, container}), granted: map[int][]access.Peer{}, arrives: "inner",
			translated: netip.AddrPortFrom(host4, 8080), target: netip.AddrPortFrom(container, 80),
		}
		w.forget()
		f, err := Claim(m.cfg, tester, true, now)
		if err != nil {
			r.Fatal(err)
		}
		for i := range m.cfg.Ports {
			for _, a := range []netip.Addr{client4, client6} {
				if rapid.Bool().Draw(r, "granted") {
					p := access.PeerOf(a, access.PrefixHost)
					if m.cfg.Ports[i].RequireISN {
						p.ISN = rapid.SampledFrom(modelNumbers).Draw(r, "number")
					}
					m.granted[i] = append(m.granted[i], p)
					w.must(f.do(changeOf(i, p, time.Hour)))
				}
			}
		}
		var packets []sent
		for range 40 {
			s := sent{
				protocol: rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(r, "protocol"),
				port:     rapid.SampledFrom(modelPorts).Draw(r, "port"),
				number:   uint32(rapid.SampledFrom(modelNumbers).Draw(r, "number")),
			}
			if rapid.Bool().Draw(r, "IPv6") {
				s.from = rapid.SampledFrom([]netip.Addr{client6, stranger6}).Draw(r, "from")
				s.to = rapid.SampledFrom([]netip.Addr{host6, other}).Draw(r, "to")
			} else {
				s.from = rapid.SampledFrom([]netip.Addr{client4, stranger4}).Draw(r, "from")
				s.to = rapid.SampledFrom([]netip.Addr{host4, container}).Draw(r, "to")
			}
			packets = append(packets, s)
		}
		compare := func(when string) {
			passed := w.passed(packets)
			for i, s := range packets {
				if want := m.passes(s); passed[i] != want {
					r.Errorf("%s: %+v passes: %v, want %v\n%s\n%+v", when, s, passed[i], want, w.run(nil, "list", "table", "inet", Name), m.cfg)
				}
			}
		}
		compare("at first")
		w.listsBack(r, f)

		m.cfg.Trusted = drawTrust(r, len(m.cfg.Ports))
		if err := f.SetTrusted(m.cfg.Trusted); err != nil {
			r.Fatal(err)
		}
		if done, err := f.Restore(); err != nil || done.Fault != "" {
			r.Errorf("after a change of the trusted peers: %+v, %v", done, err)
		}
		compare("after a change of the trusted peers")

		chain := m.cfg.Ports[0].name()
		elements := []string{
			"add element inet sallyport " + chain + "_granted4 { 198.51.100.3 timeout 1h }",
			"add element inet sallyport " + chain + "_anyone { ipv6 timeout 1h }",
		}
		if m.cfg.Ports[0].RequireISN {
			elements = []string{
				"add element inet sallyport " + chain + "_isn4 { 198.51.100.3 . 1 timeout 1h }",
				"add element inet sallyport " + chain + "_isn6 { 2001:db8:1::3 . 2147483648 timeout 1h }",
			}
		}
		tampering := rapid.SampledFrom(append(elements,
			"insert rule inet sallyport "+chain+" accept", "flush chain inet sallyport "+chain,
			"add rule inet sallyport "+chain+"_trusted accept", "delete table inet sallyport",
			"insert rule inet sallyport input accept",
		)).Draw(r, "tampering")
		w.nft(tampering)
		if done, err := f.Restore(); err != nil || done.Fault == "" || done.Err != nil {
			r.Errorf("%s: %+v, %v", tampering, done, err)
		}
		compare(tampering)
	})
}

// passed sends packets, each from another port, and reports which the table lets
// pass.
func (w *network) passed(packets []sent) []bool {
	w.Helper()
	w.run(nil, "flush", "set", "inet", "observer", "seen")
	if w.source > 50000 {
		w.source = 20000
	}
	first := w.source + 1
	var all [][]byte
	for _, s := range packets {
		w.source++
		if s.protocol == TCP {
			all = append(all, numbered(s.from, s.to, w.source, s.port, flagSYN, s.number, nil))
		} else {
			all = append(all, datagram(s.from, s.to, w.source, s.port, []byte("?")))
		}
	}
	w.probe(all...)
	passed := make([]bool, len(packets))
	for _, port := range w.seen() {
		if i := int(port) - int(first); i >= 0 && i < len(passed) {
			passed[i] = true
		}
	}
	return passed
}

// seen returns the elements of a test's own set of ports.
func (w *network) seen() (ports []uint16) {
	w.Helper()
	batch, err := newBatch()
	w.must(err)
	elements, err := batch.GetSetElements(&nftables.Set{
		Table: &nftables.Table{Name: "observer", Family: nftables.TableFamilyINet}, Name: "seen",
	})
	w.must(err)
	for _, e := range elements {
		ports = append(ports, binary.BigEndian.Uint16(e.Key))
	}
	return ports
}

// listsBack checks that nft loads its listing of the table as the same table.
func (w *network) listsBack(r *rapid.T, f *Table) {
	made, err := read()
	w.must(err)
	text := w.run(nil, "list", "table", "inet", Name)
	w.run([]byte(fmt.Sprintf("delete table inet %s\n%s", Name, text)), "-f", "-")
	loaded, err := read()
	w.must(err)
	if loaded.digest() != made.digest() {
		r.Errorf("what was loaded is not what was listed:\n%s\n%s", different(made, loaded), strings.TrimSpace(string(text)))
	}
	if done, err := f.Restore(); err != nil || done.Fault == "" || done.Err != nil {
		r.Errorf("a loaded copy: %+v, %v", done, err)
	}
}

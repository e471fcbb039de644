package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// prober sends the probes of a stranger, each from another port.
type prober struct {
	tap    *tap
	source uint16
	names  map[uint16]string // of the probes, by their source ports
}

// frame returns the frame of a probe.
func (p *prober) frame(name string, port uint16, payload []byte) []byte {
	p.source++
	p.names[p.source] = fmt.Sprintf("%s to port %d", name, port)
	return p.tap.link.Frame(netip.AddrPortFrom(netip.MustParseAddr(stranger), p.source), port, payload)
}

// answer describes a frame that the server has sent, by the probe that it quotes.
func (p *prober) answer(f []byte) string {
	const ip4, ip6, icmp = 14 + 20, 14 + 40, 8
	kind, at, version := byte(0), 0, ""
	switch {
	case len(f) > ip4+icmp+20+8 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && f[14+9] == unix.IPPROTO_ICMP:
		kind, at = f[ip4], ip4+icmp
		protocol := f[at+9]
		at += int(f[at]&15) * 4
		if protocol == unix.IPPROTO_AH && len(f) > at+12+8 {
			at += 12
		}
	case len(f) > ip6+icmp+40+16 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IPV6 && f[14+6] == unix.IPPROTO_ICMPV6:
		kind, at, version = f[ip6], ip6+icmp+40, "v6"
		if f[at-40+6] != unix.IPPROTO_UDP {
			at += 8 // an extension header
		}
	default:
		return fmt.Sprintf("%x", f)
	}
	return fmt.Sprintf("ICMP%s type %d for %s", version, kind, p.names[binary.BigEndian.Uint16(f[at:])])
}

// probe sends frames to a port. own is a sequence for this minute that the stranger has
// not sent, of which each probe spoils something.
func (p *prober) probe(t *testing.T, port uint16, replayed, own []client.Packet) {
	t.Helper()
	send := func(name string, payload []byte, change func([]byte) []byte) {
		t.Helper()
		f := p.frame(name, port, payload)
		if change != nil {
			f = change(f)
		}
		p.tap.send(t, f)
	}
	for _, size := range []int{0, 1, 47, 48, 49, 1400} {
		send(fmt.Sprintf("%d bytes", size), make([]byte, size), nil)
	}
	for name, k := range spoiled(port, own) {
		send(name, k, nil)
	}
	for i, k := range replayed {
		p.tap.send(t, p.frame(fmt.Sprintf("replay %d", i), k.Port, k.Datagram))
	}
	const ip, udp = 14, 14 + 20
	empty := make([]byte, wire.Size)
	for _, s := range []struct {
		name  string
		at    int
		value uint16
	}{
		{"UDP length too long", udp + 4, 200}, {"UDP length too short", udp + 4, 3}, {"UDP checksum wrong", udp + 6, 0xbad0},
		{"IP length too long", ip + 2, 1000}, {"IP length too short", ip + 2, 24}, {"one hop left", ip + 8, 1<<8 | unix.IPPROTO_UDP},
	} {
		send(s.name, empty, func(f []byte) []byte {
			binary.BigEndian.PutUint16(f[s.at:], s.value)
			return withChecksum(f)
		})
	}
	send("IP checksum wrong", empty, func(f []byte) []byte { f[ip+10]++; return f })
	send("no end", empty, func(f []byte) []byte { return f[:udp+4] })
	send("VLAN tag", empty, func(f []byte) []byte { return tagged(f, unix.ETH_P_8021Q) })
	for name, options := range map[string][]byte{
		"IP options: no operation": {1, 1, 1, 0}, "IP options: source route": {131, 7, 4, 192, 0, 2, 1, 0}, malformedOptions: {7, 99, 0, 0},
	} {
		send(name, empty, func(f []byte) []byte { return withOptions(f, options) })
	}
	send(authentication, empty, withAuthentication)
	whole := inFragments(p.frame("fragments", port, empty))
	p.tap.send(t, whole...)
	whole = inFragments(p.frame("fragments, the last one first", port, empty))
	p.tap.send(t, whole[1], whole[0])
	p.tap.send(t, inFragments(p.frame(firstFragment, port, empty))[0])
	p.tap.send(t, inFragments(p.frame("last fragment", port, empty))[1])
}

// spoiled returns knocks to a port that each break one rule, by their names. own is a
// sequence for this minute.
func spoiled(port uint16, own []client.Packet) map[string][]byte {
	knock := own[0].Datagram
	for _, k := range own {
		if k.Port == port {
			knock = k.Datagram
		}
	}
	all := map[string][]byte{}
	for _, s := range []struct {
		name  string
		at    int
		value byte
	}{
		{"bad magic", wire.OffsetMagic, 'X'}, {"negative sequence", wire.OffsetSequence, 0x80}, {"another maximum", wire.OffsetMaximum, 9},
		{"another sequence", wire.OffsetSequence, 1 - knock[wire.OffsetSequence]}, {"an unknown client", wire.OffsetIdentifier, 'X'},
		{"a wrong signature", wire.OffsetMAC, ^knock[wire.OffsetMAC]},
	} {
		all[s.name] = slices.Clone(knock)
		all[s.name][s.at] = s.value
	}
	return all
}

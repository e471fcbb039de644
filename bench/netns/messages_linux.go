package netns

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Message is one message in the ports of empty UDP packets, on its way.
type Message struct {
	Source, Destination netip.Addr
	Class               int // as Messages.Class returns it
	Number              int // how many messages of its source, destination and class were before it
	Frames              [][]byte
}

// Messages is a relay that holds the packets of a message until it has all of them. It
// then sends the frames that Release returns, so their order does not depend on time.
// It sends all other frames at once.
type Messages struct {
	// Class returns the class of an empty packet, and how many packets its message
	// has. 0: the packet belongs to no message.
	Class func(source netip.Addr, destination netip.AddrPort) (class, size int)
	// Release returns the frames to send in place of a message's. One goroutine at a
	// time calls it.
	Release func(Message) [][]byte

	mu   sync.Mutex
	held map[messageKey]*Message
}

type messageKey struct {
	source, destination netip.Addr
	class               int
}

// Relay is the relay.
func (m *Messages) Relay(frame []byte, send func([]byte)) {
	source, destination, ok := EmptyPacket(frame)
	if !ok {
		send(frame)
		return
	}
	class, size := m.Class(source.Addr(), destination)
	if size == 0 {
		send(frame)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := messageKey{source.Addr(), destination.Addr(), class}
	if m.held == nil {
		m.held = map[messageKey]*Message{}
	}
	held := m.held[key]
	if held == nil {
		held = &Message{Source: key.source, Destination: key.destination, Class: class}
		m.held[key] = held
	}
	held.Frames = append(held.Frames, frame)
	if len(held.Frames) < size {
		return
	}
	for _, f := range m.Release(*held) {
		send(f)
	}
	held.Number++
	held.Frames = nil
}

// EmptyPacket returns the source and the destination of a frame with a UDP packet
// without payload, and without IP options or extension headers.
func EmptyPacket(frame []byte) (source, destination netip.AddrPort, ok bool) {
	const ethernet, udp = 14, 8
	if len(frame) < ethernet+20+udp {
		return source, destination, false
	}
	var header, from, to, size int
	var protocol byte
	ip := frame[ethernet:]
	switch {
	case binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP && ip[0] == 0x45:
		header, from, to, size, protocol = 20, 12, 16, 4, ip[9]
	case binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IPV6 && len(ip) >= 40+udp:
		header, from, to, size, protocol = 40, 8, 24, 16, ip[6]
	default:
		return source, destination, false
	}
	port := func(at int) uint16 { return binary.BigEndian.Uint16(ip[header+at:]) }
	if protocol != unix.IPPROTO_UDP || port(4) != udp {
		return source, destination, false
	}
	a, _ := netip.AddrFromSlice(ip[from : from+size])
	b, _ := netip.AddrFromSlice(ip[to : to+size])
	return netip.AddrPortFrom(a, port(0)), netip.AddrPortFrom(b, port(2)), true
}

package capture

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"sallyport/ingest/udp"
	"sallyport/verify/challenge/exchange"
)

// The messages between capturer and server, each a message of a SOCK_SEQPACKET socket.
// Both ends are one program, started from one file, so the messages carry no version.
//
//	capturer -> server   hello     the Settings, and what is in force in the capturer's
//	                               process, as JSON, once
//	                     batch     counts since the start, the number of the first
//	                               packet, and up to 64 packets
//	server -> capturer   answer    the number of a packet, and the payload
const (
	countsSize   = 4 * 8 // received, dropped, refused, unsent
	batchHeader  = countsSize + 8
	packetSize   = 1 + 16 + 16 + 2 + 2 + 4 + 8 // family, addresses, ports, link, time
	maxBatch     = batchHeader + udp.BatchSize*packetSize
	answerHeader = 8
	// maxAnswer is the size of the largest answer: the payload is a challenge.
	maxAnswer = answerHeader + exchange.MaxChallenge
)

// hello is the first message.
type hello struct {
	Settings
	Sandbox json.RawMessage `json:",omitempty"`
}

var errMessage = errors.New("malformed message")

// appendPacket appends a packet. Only link-local addresses have a zone, which is
// their link's number, and both addresses then have the same.
func appendPacket(b []byte, p Packet) []byte {
	from, to := p.Source.Addr(), p.Destination.Addr()
	family := byte(6)
	if from.Is4() {
		family = 4
	}
	a16, b16 := from.As16(), to.As16()
	b = append(b, family)
	b = append(append(b, a16[:]...), b16[:]...)
	b = binary.BigEndian.AppendUint16(b, p.Source.Port())
	b = binary.BigEndian.AppendUint16(b, p.Destination.Port())
	link, _ := udp.Link(from)
	if link == 0 {
		link, _ = udp.Link(to)
	}
	b = binary.BigEndian.AppendUint32(b, link)
	return binary.BigEndian.AppendUint64(b, uint64(p.Arrived))
}

// parsePacket parses packetSize bytes.
func parsePacket(b []byte) (p Packet, err error) {
	from, to := netip.AddrFrom16([16]byte(b[1:])), netip.AddrFrom16([16]byte(b[17:]))
	switch {
	case b[0] == 4 && from.Is4In6() && to.Is4In6():
		from, to = from.Unmap(), to.Unmap()
	case b[0] != 6:
		return p, errMessage
	}
	if link := binary.BigEndian.Uint32(b[37:]); link != 0 {
		from, to = udp.WithLink(from, link), udp.WithLink(to, link)
	}
	return Packet{
		Source:      netip.AddrPortFrom(from, binary.BigEndian.Uint16(b[33:])),
		Destination: netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[35:])),
		Arrived:     int64(binary.BigEndian.Uint64(b[41:])),
	}, nil
}

// batchMessage is a batch: the capturer's counts, and packets with successive numbers.
type batchMessage struct {
	received, dropped, refused, unsent uint64
	first                              uint64 // the number of the first packet
	packets                            []Packet
}

func (m batchMessage) append(b []byte) []byte {
	for _, n := range []uint64{m.received, m.dropped, m.refused, m.unsent, m.first} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, p := range m.packets {
		b = appendPacket(b, p)
	}
	return b
}

// parseBatch parses a batch. Its packets are appended to packets.
func parseBatch(b []byte, packets []Packet) (m batchMessage, err error) {
	if len(b) < batchHeader || len(b) > maxBatch || (len(b)-batchHeader)%packetSize != 0 {
		return m, errMessage
	}
	for i, n := range []*uint64{&m.received, &m.dropped, &m.refused, &m.unsent, &m.first} {
		*n = binary.BigEndian.Uint64(b[8*i:])
	}
	for b = b[batchHeader:]; len(b) > 0; b = b[packetSize:] {
		p, err := parsePacket(b[:packetSize])
		if err != nil {
			return batchMessage{}, fmt.Errorf("packet %d: %w", len(packets), err)
		}
		packets = append(packets, p)
	}
	m.packets = packets
	return m, nil
}

package relay

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// Sizes of a datagram.
const (
	// MaxDatagram is the maximum size of a datagram: with its headers it fits the least
	// MTU of IPv6, 1280 bytes.
	MaxDatagram = 1200
	headerSize  = 8 + runSize + 8 // sender, run, counter
	runSize     = 16
	tokenSize   = 16
	tagSize     = 16
	bodyHeader  = 2*tokenSize + 1 // token, echo, number of gateways
	minDatagram = headerSize + bodyHeader + tagSize
	maxPacket   = 1 + 2 + 16 + 2 + 2
)

// Run is a random number of a process that relays. Its datagrams have another key than
// those of any other run.
type Run [runSize]byte

// token is a random number by which a gateway knows that a run is a new one: see node.
type token [tokenSize]byte

// header is the part of a datagram that is not encrypted.
type header struct {
	sender  ID
	run     Run
	counter uint64
}

func (h header) append(b []byte) []byte {
	b = append(append(b, h.sender[:]...), h.run[:]...)
	return binary.BigEndian.AppendUint64(b, h.counter)
}

// parseHeader parses the header of a datagram of a valid size.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < minDatagram || len(b) > MaxDatagram {
		return h, false
	}
	n := copy(h.sender[:], b)
	n += copy(h.run[:], b[n:])
	h.counter = binary.BigEndian.Uint64(b[n:])
	return h, true
}

// nonce returns the nonce of the AEAD: the counter, which never repeats in a run.
func (h header) nonce() (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], h.counter)
	return n
}

// seal appends a datagram. The body is encrypted, and the header is authenticated with it.
func (h header) seal(dst []byte, aead cipher.AEAD, body []byte) []byte {
	begin := len(dst)
	dst = h.append(dst)
	nonce := h.nonce()
	return aead.Seal(dst, nonce[:], body, dst[begin:])
}

// open appends the body of a datagram to dst. False: it is not authentic.
func (h header) open(dst []byte, aead cipher.AEAD, datagram []byte) ([]byte, bool) {
	nonce := h.nonce()
	body, err := aead.Open(dst, nonce[:], datagram[headerSize:], datagram[:headerSize])
	return body, err == nil
}

// Packet is an empty packet that another gateway has received.
type Packet struct {
	Source netip.AddrPort
	Port   uint16 // its destination port
	TCP    bool   // it is a bare SYN; else an empty UDP packet
	// Age is how long ago that gateway received it, in steps of ageStep, at most maxAge.
	Age time.Duration
}

const (
	ageStep = 100 * time.Microsecond
	maxAge  = ageStep * (1<<16 - 1)
)

// Bits of the first byte of a packet; bitKnown is that of a source.
const (
	bitIPv6  = 1
	bitTCP   = 2
	bitKnown = 8
)

// append appends the packet.
func (p Packet) append(b []byte) []byte {
	a := p.Source.Addr().Unmap()
	kind := byte(0)
	if a.Is6() {
		kind |= bitIPv6
	}
	if p.TCP {
		kind |= bitTCP
	}
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(p.Age, 0), maxAge)/ageStep))
	b = append(b, a.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, p.Source.Port())
	return binary.BigEndian.AppendUint16(b, p.Port)
}

var errBody = errors.New("malformed body")

// parsePacket parses the first packet of b, and returns the rest.
func parsePacket(b []byte) (p Packet, rest []byte, err error) {
	if len(b) == 0 || b[0]&^(bitIPv6|bitTCP) != 0 {
		return p, nil, errBody
	}
	size := 4
	if b[0]&bitIPv6 != 0 {
		size = 16
	}
	if len(b) < 3+size+4 {
		return p, nil, errBody
	}
	a, _ := netip.AddrFromSlice(b[3 : 3+size])
	p = Packet{
		Source: netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[3+size:])), Port: binary.BigEndian.Uint16(b[5+size:]),
		TCP: b[0]&bitTCP != 0, Age: time.Duration(binary.BigEndian.Uint16(b[1:])) * ageStep,
	}
	if a.Is4In6() || !relayable(a) || p.Source.Port() == 0 || p.Port == 0 {
		return Packet{}, nil, errBody
	}
	return p, b[3+size+4:], nil
}

// body is the encrypted part of a datagram.
type body struct {
	token token // the receiver must send it to make a new run known
	echo  token // the token of the receiver, as far as the sender knows it; zeros: not at all
	hears []ID  // the gateways that the sender hears, ascending
	known []source
}

// append appends the body without packets, which follow it.
func (y body) append(b []byte) []byte {
	b = append(append(b, y.token[:]...), y.echo[:]...)
	b = append(b, byte(len(y.hears)))
	for _, id := range y.hears {
		b = append(b, id[:]...)
	}
	return appendKnown(b, y.known)
}

// parseBody parses a body, and appends its packets to a slice.
func parseBody(b []byte, packets []Packet) (y body, _ []Packet, err error) {
	if len(b) < bodyHeader || b[2*tokenSize] > MaxGateways || len(b) < bodyHeader+8*int(b[2*tokenSize]) {
		return y, nil, errBody
	}
	copy(y.token[:], b)
	copy(y.echo[:], b[tokenSize:])
	n := int(b[2*tokenSize])
	b = b[bodyHeader:]
	for i := range n {
		id := ID(b[:8])
		if i > 0 && y.hears[i-1].compare(id) >= 0 {
			return body{}, nil, errBody
		}
		y.hears, b = append(y.hears, id), b[8:]
	}
	if y.known, b, err = parseKnown(b); err != nil {
		return body{}, nil, err
	}
	for len(b) > 0 {
		var p Packet
		if p, b, err = parsePacket(b); err != nil {
			return body{}, nil, err
		}
		packets = append(packets, p)
	}
	return y, packets, nil
}

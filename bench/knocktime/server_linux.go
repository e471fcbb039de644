package knocktime

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"sallyport/verify/challenge"
)

// server receives knocks at all ports, with a raw socket: no port is open.
type server struct{ socket *net.IPConn }

func (l *Link) openServer() (s server, err error) {
	err = l.server.Do(func() error {
		s.socket, err = net.ListenIP("ip4:udp", &net.IPAddr{IP: serverAddress.AsSlice()})
		if err != nil {
			return fmt.Errorf("open the server's socket: %w", err)
		}
		return nil
	})
	return s, err
}

// The header of UDP.
const (
	udpSource      = 0
	udpDestination = 2
	udpLength      = 4
	udpHeaderBytes = 8 // the last two are the checksum; 0 means none
)

// knocker is the source of the last knock, and its destination port.
type knocker struct {
	address *net.IPAddr
	from    uint16 // port
	to      uint16 // port
}

func (s server) exchange(c codecs, answer []byte) (got messages, err error) {
	var k knocker
	if got.request, k, err = s.receive(c.request); err != nil {
		return got, fmt.Errorf("receive the request: %w", err)
	}
	if err := s.answer(k, answer); err != nil {
		return got, fmt.Errorf("send the challenge: %w", err)
	}
	if got.response, _, err = s.receive(c.response); err != nil {
		return got, fmt.Errorf("receive the response: %w", err)
	}
	return got, nil
}

// receive receives knocks until they are a complete message.
func (s server) receive(codec *challenge.Codec) (message []byte, k knocker, err error) {
	var d challenge.Decoder
	d.Reset(codec)
	var packet [headerBytes + 1]byte // ReadFromIP removes the IP header in place
	for received := 0; ; {
		n, from, err := s.socket.ReadFromIP(packet[:])
		if err != nil {
			return nil, k, fmt.Errorf("got %d of %d knocks: %w", received, codec.Packets(), err)
		}
		if n != udpHeaderBytes {
			return nil, k, fmt.Errorf("got a UDP packet of %d bytes, expected an empty one of %d", n, udpHeaderBytes)
		}
		received++
		k = knocker{from, binary.BigEndian.Uint16(packet[udpSource:]), binary.BigEndian.Uint16(packet[udpDestination:])}
		switch d.Add(k.to, time.Now()) {
		case challenge.Complete:
			return d.AppendMessage(nil), k, nil
		case challenge.Impossible:
			return nil, k, fmt.Errorf("port %d is impossible as knock %d of %d", k.to, received, codec.Packets())
		}
	}
}

// answer answers a knock from its destination port.
func (s server) answer(k knocker, payload []byte) error {
	packet := make([]byte, udpHeaderBytes, udpHeaderBytes+len(payload))
	binary.BigEndian.PutUint16(packet[udpSource:], k.to)
	binary.BigEndian.PutUint16(packet[udpDestination:], k.from)
	binary.BigEndian.PutUint16(packet[udpLength:], uint16(udpHeaderBytes+len(payload)))
	_, err := s.socket.WriteToIP(append(packet, payload...), k.address)
	return err
}

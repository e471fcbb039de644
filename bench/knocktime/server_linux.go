package knocktime

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"sallyport/verify/challenge"
)

// server takes knocks at any port: a raw socket has them all, though no port
// is open.
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
	udpHeaderBytes = 8 // the last two are the checksum; 0 is none
)

// knocker is where the last knock came from, and the port that it went to.
type knocker struct {
	address *net.IPAddr
	from    uint16
	to      uint16
}

func (s server) exchange(c codecs, answer []byte) (got messages, err error) {
	var k knocker
	if got.request, k, err = s.take(c.request); err != nil {
		return got, fmt.Errorf("take the request: %w", err)
	}
	if err := s.answer(k, answer); err != nil {
		return got, fmt.Errorf("send the challenge: %w", err)
	}
	if got.response, _, err = s.take(c.response); err != nil {
		return got, fmt.Errorf("take the response: %w", err)
	}
	return got, nil
}

// take takes knocks until they are a message.
func (s server) take(codec *challenge.Codec) (message []byte, k knocker, err error) {
	var d challenge.Decoder
	d.Reset(codec)
	var packet [headerBytes + 1]byte // ReadFromIP takes the IP header off in place
	for taken := 0; ; {
		n, from, err := s.socket.ReadFromIP(packet[:])
		if err != nil {
			return nil, k, fmt.Errorf("%d of %d knocks have come: %w", taken, codec.Packets(), err)
		}
		if n != udpHeaderBytes {
			return nil, k, fmt.Errorf("a packet of %d bytes of UDP is no knock", n)
		}
		taken++
		k = knocker{from, binary.BigEndian.Uint16(packet[udpSource:]), binary.BigEndian.Uint16(packet[udpDestination:])}
		switch d.Add(k.to, time.Now()) {
		case challenge.Complete:
			return d.AppendMessage(nil), k, nil
		case challenge.Impossible:
			return nil, k, fmt.Errorf("port %d cannot be knock %d of %d", k.to, taken, codec.Packets())
		}
	}
}

// answer answers the last knock from the port that it went to.
func (s server) answer(k knocker, payload []byte) error {
	packet := make([]byte, udpHeaderBytes, udpHeaderBytes+len(payload))
	binary.BigEndian.PutUint16(packet[udpSource:], k.to)
	binary.BigEndian.PutUint16(packet[udpDestination:], k.from)
	binary.BigEndian.PutUint16(packet[udpLength:], uint16(udpHeaderBytes+len(payload)))
	_, err := s.socket.WriteToIP(append(packet, payload...), k.address)
	return err
}

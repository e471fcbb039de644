package real

import (
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/knocktime/line"
)

// packet is what the relay has to know of a frame.
type packet struct {
	lane   int
	knock  bool // an empty UDP packet of the client
	answer bool // a SYN-ACK of the server
}

// Offsets in an IPv4 header without options, which no program here sends, and in the
// header of TCP.
const (
	ipProtocol    = 9
	ipSource      = 12
	ipDestination = 16
	ipBytes       = 20
	tcpFlags      = 13
	synAck        = 0x12
)

// parse returns ok = false for a frame of no lane.
func parse(frame []byte, up bool) (p packet, ok bool) {
	if len(frame) < ethernetBytes+line.KnockBytes {
		return p, false
	}
	ip := frame[ethernetBytes:]
	address := ip[ipSource : ipSource+4]
	if up {
		address = ip[ipDestination : ipDestination+4]
	}
	p.lane, ok = laneOf(address[3])
	switch ip[ipProtocol] {
	case unix.IPPROTO_UDP:
		p.knock = up && len(ip) == line.KnockBytes
	case unix.IPPROTO_TCP:
		p.answer = !up && len(ip) > ipBytes+tcpFlags && ip[ipBytes+tcpFlags] == synAck
	}
	return p, ok
}

// delivery is a frame that waits until it is due.
type delivery struct {
	packet
	due   time.Time
	order uint64 // of frames that are due at the same time
	frame []byte
}

// frames is a heap of deliveries, by their times.
type frames []delivery

func (f frames) Len() int      { return len(f) }
func (f frames) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f frames) Less(i, j int) bool {
	if f[i].due.Equal(f[j].due) {
		return f[i].order < f[j].order
	}
	return f[i].due.Before(f[j].due)
}
func (f *frames) Push(x any) { *f = append(*f, x.(delivery)) }
func (f *frames) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

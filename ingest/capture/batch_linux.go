package capture

import (
	"net/netip"

	"sallyport/ingest/udp"
)

// controlSize is room for the destination address of a datagram, its time, and the
// count of drops.
const controlSize = 128

// batch holds up to 64 packets, as the kernel writes them. It must not be copied.
// The slices that it returns are valid until the next receive.
type batch struct {
	messages *udp.Messages
	sizes    [udp.BatchSize]int
	names    [udp.BatchSize]udp.Name
	data     [udp.BatchSize][snapLength]byte
	control  [udp.BatchSize][controlSize]byte
	packets  [udp.BatchSize]Packet
}

func newBatch() *batch {
	b := &batch{messages: udp.NewMessages()}
	for i := range b.data {
		b.messages.Into(i, b.data[i][:], &b.names[i])
		b.messages.Control(i, b.control[i][:])
	}
	return b
}

// receive reads the queue of a socket, up to a batch. It does not block.
func (b *batch) receive(fd int) (n int, err error) {
	n, err = b.messages.Receive(fd, 0)
	for i := range n {
		b.sizes[i] = min(b.messages.Len(i), snapLength)
	}
	return n, err
}

// packet returns the i-th packet, truncated to snapLength.
func (b *batch) packet(i int) []byte { return b.data[i][:b.sizes[i]] }

// source returns the source of the i-th datagram.
func (b *batch) source(i int) netip.AddrPort {
	return netip.AddrPortFrom(b.names[i].Addr(), b.names[i].Port())
}

// arrived returns the time at which the kernel received the i-th datagram, as
// Packet.Arrived.
func (b *batch) arrived(i int) int64 { return udp.ParseTime(b.control[i][:b.messages.ControlLen(i)]) }

// destination returns the destination address of the i-th datagram, and how many
// datagrams the socket had dropped before it.
func (b *batch) destination(i int) (to netip.Addr, drops uint32) {
	return udp.ParseControl(b.control[i][:b.messages.ControlLen(i)])
}

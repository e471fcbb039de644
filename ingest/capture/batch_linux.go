package capture

import (
	"net/netip"

	"sallyport/ingest/udp"
)

// controlSize is room for the address that a datagram went to, and the count of
// drops.
const controlSize = 128

// batch is up to 64 packets, as the kernel writes them. It must not be copied.
// What it returns is valid until the next receive.
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

// receive reads what waits at a socket, up to a batch, without waiting for
// more.
func (b *batch) receive(fd int) (n int, err error) {
	n, err = b.messages.Receive(fd, 0)
	for i := range n {
		b.sizes[i] = min(b.messages.Len(i), snapLength)
	}
	return n, err
}

// packet returns the i-th packet, cut to snapLength.
func (b *batch) packet(i int) []byte { return b.data[i][:b.sizes[i]] }

// source returns where the i-th datagram came from.
func (b *batch) source(i int) netip.AddrPort {
	return netip.AddrPortFrom(b.names[i].Addr(), b.names[i].Port())
}

// destination returns to which address the i-th datagram went, and how many the
// socket had dropped until then.
func (b *batch) destination(i int) (to netip.Addr, drops uint32) {
	return udp.ParseControl(b.control[i][:b.messages.ControlLen(i)])
}

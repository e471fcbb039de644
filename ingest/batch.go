package ingest

import "sallyport/verify/schedule"

const (
	// batchSize is how many datagrams one recvmmsg takes. More bring nothing.
	batchSize = 64
	// bufferSize is what is kept of a datagram. One byte more than a knock
	// is enough to see that it is too long.
	bufferSize = 64
	// ringSize is how many batches wait for a worker at the most.
	ringSize = 64
	// crowd is how many batches may wait before the reader holds back those
	// that are not full.
	crowd = 4
)

// batch is up to 64 datagrams, of one port or of several. Its memory is made
// at start; the datagrams are valid until the batch is back in the free list.
type batch struct {
	n      int // how many
	places [batchSize][]schedule.Place
	data   [batchSize][bufferSize]byte
	frame  frame // what the platform needs to fill it
}

// datagram returns the i-th datagram, cut to bufferSize.
func (b *batch) datagram(i int) []byte {
	return b.data[i][:min(b.frame.length(i), bufferSize)]
}

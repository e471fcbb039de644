package ingest

import (
	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

const (
	batchSize = udp.BatchSize
	// bufferSize is what is kept of a datagram. One byte more than a knock
	// is enough to see that it is too long.
	bufferSize = 64
	// ringSize is how many batches wait for a worker at most.
	ringSize = 64
	// crowd is how many batches may wait before the reader holds back those
	// that are not full.
	crowd = 4
)

// batch is up to 64 datagrams, of one port or of several, from whatever source.
// Its memory is made at start; the datagrams are valid until the batch is back
// in the free list. A source writes entries from n on, then raises n.
type batch struct {
	n int
	// keep says that the batch must not be dropped at a full ring: it has what
	// was left in a socket that is being closed.
	keep bool

	sizes   [batchSize]uint8 // at most bufferSize
	places  [batchSize][]schedule.Place
	origins [batchSize]udp.Name
	data    [batchSize][bufferSize]byte
}

// datagram returns the i-th datagram, cut to bufferSize.
func (b *batch) datagram(i int) []byte { return b.data[i][:b.sizes[i]] }

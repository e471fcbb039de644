package ingest

import (
	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

const (
	batchSize = udp.BatchSize
	// bufferSize is how many bytes of a datagram are kept. One byte more than a
	// knock is enough to detect a datagram that is too long.
	bufferSize = 64
	// ringSize is the maximum number of batches that wait for a worker.
	ringSize = 64
	// backlogLimit is the number of waiting batches from which the reader holds
	// back a batch that is not full.
	backlogLimit = 4
)

// batch holds up to 64 datagrams, of one port or of several. Its memory is
// allocated at start. The datagrams are valid until the batch returns to the
// free list. A source writes the entries from n on, then increases n.
type batch struct {
	n int
	// keep is set if the batch must not be dropped at a full ring, because it
	// has datagrams of a socket that is being closed.
	keep bool

	sizes   [batchSize]uint8 // at most bufferSize
	places  [batchSize][]schedule.Place
	origins [batchSize]udp.Name
	data    [batchSize][bufferSize]byte
}

// datagram returns the i-th datagram, truncated to bufferSize.
func (b *batch) datagram(i int) []byte { return b.data[i][:b.sizes[i]] }

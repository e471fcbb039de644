package ingest

import (
	"math/bits"
	"reflect"

	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

const (
	batchSize = udp.BatchSize
	// bufferSize is how many bytes of a datagram are kept. One byte more than a
	// knock is enough to detect a datagram that is too long.
	bufferSize = 64
	// backlogLimit is the number of waiting batches from which the reader holds
	// back a batch that is not full.
	backlogLimit = 4
	// yieldLimit is the number of waiting batches from which the reader leaves its
	// processor to the task after each one, however long the queue is.
	yieldLimit = 32
)

// The queue of a reader, in datagrams (Config.Queue). It is the buffer of the paper
// (section 7.4): a datagram that arrives while it is full is dropped.
const (
	DefaultQueue = 4096
	MinQueue     = 512
	MaxQueue     = 1 << 18 // some 30 MB for each reader
)

// ringSize returns how many batches wait for a worker at most, if so many datagrams
// may: a power of two.
func ringSize(datagrams int) int {
	return 1 << bits.Len(uint((datagrams-1)/batchSize))
}

// ownBatches is how many batches a shard has in addition to a full ring: the reader
// has one and the task one, so that a free batch is left after each push.
const ownBatches = 2

// QueueSize returns how many datagrams of a reader may wait, if Config.Queue is set to
// a number: the next power of two.
func QueueSize(datagrams int) int { return ringSize(datagrams) * batchSize }

// QueueMemory returns how many bytes the queue of a reader takes, which New allocates.
func QueueMemory(datagrams int) int {
	return (ringSize(datagrams) + ownBatches) * int(reflect.TypeFor[batch]().Size())
}

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

package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// socketSource is the source of datagrams that arrive at UDP sockets: one for
// each port and address. The rotation adds and removes sockets. After add, only
// the source's reader reads and closes them.
type socketSource struct {
	waiter   *udp.Waiter
	messages *udp.Messages
	into     *batch // the batch that the messages point into
	open     map[int]*socket
	leaving  []*removal // being closed, in this order

	drops       atomic.Uint64 // by the kernel, at sockets that were closed
	hasRemovals atomic.Bool   // there are removals

	mu      sync.Mutex
	removed []*removal
	added   []*socket
	failed  bool // the source has stopped reading
}

// socket is one socket of a port. It belongs to its source once it was added.
type socket struct {
	fd     int
	port   *port
	source *socketSource
	drops  uint32 // by the kernel, when they were counted last
}

// newDrops returns how many datagrams the kernel has dropped since the last call.
// Only the rotation may call it; after remove, only the source.
func (s *socket) newDrops() uint64 {
	drops, err := udp.Drops(s.fd)
	if err != nil {
		return 0
	}
	n := drops - s.drops // modulo 2^32, as the kernel counts
	s.drops = drops
	return uint64(n)
}

func newSocketSource() (*socketSource, error) {
	w, err := udp.NewWaiter()
	if err != nil {
		return nil, err
	}
	return &socketSource{waiter: w, messages: udp.NewMessages(), open: map[int]*socket{}}, nil
}

// add adds a socket to the source, which then owns it. On an error the caller
// still owns it.
func (src *socketSource) add(s *socket) error {
	// fill must know the socket before its first event. So the lock is held until
	// the socket is in the list, which fill reads before any event.
	src.mu.Lock()
	defer src.mu.Unlock()
	if err := src.waiter.Add(s.fd); err != nil {
		return err
	}
	src.added = append(src.added, s)
	return nil
}

// remove asks the source to read the queue of the socket, close it, and then
// call closed.Done. remove calls closed.Add.
func (src *socketSource) remove(s *socket, closed *sync.WaitGroup) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.failed {
		return // close closes it
	}
	closed.Add(1)
	src.removed = append(src.removed, &removal{socket: s, closed: closed})
	src.hasRemovals.Store(true)
	src.wake()
}

func (src *socketSource) wake() { src.waiter.Wake() }

// fill implements source. It reads each ready socket once a round, so that a
// flood at one socket does not delay the others.
func (src *socketSource) fill(b *batch, wait time.Duration) error {
	if src.hasRemovals.Load() || len(src.leaving) > 0 {
		src.retire(b)
		return nil
	}
	fd, ok := src.waiter.Next()
	if !ok {
		if err := src.waiter.Wait(wait); err != nil {
			src.fail()
			return err
		}
		src.takeAdded()
		fd, ok = src.waiter.Next()
	}
	for ; ok; fd, ok = src.waiter.Next() {
		// An error is ignored: it does not stop later datagrams.
		if s := src.open[fd]; s != nil && src.recvInto(s.fd, *s.port.places.Load(), b) == nil && b.n == batchSize {
			return nil // the next fill continues the round
		}
	}
	return nil
}

// recvInto reads the queue of a socket into a batch, which must have room. The
// kernel writes directly into the batch.
func (src *socketSource) recvInto(fd int, places []schedule.Place, b *batch) error {
	if src.into != b {
		for i := range batchSize {
			src.messages.Into(i, b.data[i][:], &b.origins[i])
		}
		src.into = b
	}
	n, err := src.messages.Receive(fd, b.n)
	if err != nil {
		return err
	}
	for i := b.n; i < b.n+n; i++ {
		b.places[i] = places
		b.sizes[i] = uint8(src.messages.Len(i))
	}
	b.n += n
	return nil
}

// takeAdded moves the added sockets into the map of open ones.
func (src *socketSource) takeAdded() {
	src.mu.Lock()
	defer src.mu.Unlock()
	for _, s := range src.added {
		src.open[s.fd] = s
	}
	src.added = src.added[:0]
}

// fail marks the source as failed: it no longer reads. It releases every caller
// that waits for a removal. The sockets stay open until close, because the
// rotation may still read their drops.
func (src *socketSource) fail() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.failed = true
	for _, r := range append(src.leaving, src.removed...) {
		src.added = append(src.added, r.socket)
		r.closed.Done()
	}
	src.leaving, src.removed = nil, nil
}

// close implements source. Datagrams in the queues are lost. The kernel's drops
// are counted.
func (src *socketSource) close() {
	src.takeAdded()
	for _, s := range src.open {
		src.drops.Add(s.newDrops())
		unix.Close(s.fd)
	}
	src.waiter.Close()
}

func closeSockets(sockets []*socket) {
	for _, s := range sockets {
		unix.Close(s.fd)
	}
}

package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// sockets is the source of datagrams that arrive at UDP sockets: one of each
// port and address. The rotation adds and removes them; from add on, the
// source's reader alone reads and closes them.
type sockets struct {
	waiter   *udp.Waiter
	messages *udp.Messages
	into     *batch // where the messages point
	open     map[int]*socket
	leaving  []*removal // being emptied, the first one first

	drops atomic.Uint64 // by the kernel, at sockets that were closed
	asked atomic.Bool   // there are removals

	mu      sync.Mutex
	removed []*removal
	added   []*socket
	failed  bool // nothing is read any more
}

// socket is one of a port's sockets. Once added to its source it belongs to it.
type socket struct {
	fd     int
	port   *port
	source *sockets
	drops  uint32 // by the kernel, when they were counted last
}

// newDrops counts what the kernel has dropped since the last call. Only the
// rotation may call it, and only the source once remove was called.
func (s *socket) newDrops() uint64 {
	drops, err := udp.Drops(s.fd)
	if err != nil {
		return 0
	}
	n := drops - s.drops // modulo 2^32, as the kernel counts
	s.drops = drops
	return uint64(n)
}

func newSockets() (*sockets, error) {
	w, err := udp.NewWaiter()
	if err != nil {
		return nil, err
	}
	return &sockets{waiter: w, messages: udp.NewMessages(), open: map[int]*socket{}}, nil
}

// add hands a socket to the source, which from then on owns it. On an error it
// stays with the caller.
func (src *sockets) add(s *socket) error {
	// The socket has to be known before its first event: fill takes the list of
	// added ones before it looks at any event of theirs.
	src.mu.Lock()
	defer src.mu.Unlock()
	if err := src.waiter.Add(s.fd); err != nil {
		return err
	}
	src.added = append(src.added, s)
	return nil
}

// remove has the source read what the socket holds, close it, and then call
// closed.Done.
func (src *sockets) remove(s *socket, closed *sync.WaitGroup) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.failed {
		return // close will do it
	}
	closed.Add(1)
	src.removed = append(src.removed, &removal{socket: s, closed: closed})
	src.asked.Store(true)
	src.wake()
}

func (src *sockets) wake() { src.waiter.Wake() }

// fill implements source. Each socket that is ready is read once a round, so
// that a flood at one does not keep the others waiting.
func (src *sockets) fill(b *batch, wait time.Duration) error {
	if src.asked.Load() || len(src.leaving) > 0 {
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
		// An error is of no concern: the next datagram comes all the same.
		if s := src.open[fd]; s != nil && src.receive(s.fd, *s.port.places.Load(), b) == nil && b.n == batchSize {
			return nil // the round goes on with the next fill
		}
	}
	return nil
}

// receive adds what waits at a socket to a batch that has room. The kernel
// writes straight into the batch.
func (src *sockets) receive(fd int, places []schedule.Place, b *batch) error {
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

// takeAdded takes over the sockets that were added.
func (src *sockets) takeAdded() {
	src.mu.Lock()
	defer src.mu.Unlock()
	for _, s := range src.added {
		src.open[s.fd] = s
	}
	src.added = src.added[:0]
}

// fail releases those that wait for sockets to be closed: the source reads no
// more. Its sockets stay open until close, since the rotation may still ask for
// their drops.
func (src *sockets) fail() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.failed = true
	for _, r := range append(src.leaving, src.removed...) {
		src.added = append(src.added, r.socket)
		r.closed.Done()
	}
	src.leaving, src.removed = nil, nil
}

// close implements source. What the sockets hold is lost; what the kernel has
// dropped at them is counted.
func (src *sockets) close() {
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

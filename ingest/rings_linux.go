package ingest

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
	"sallyport/ingest/xdp"
)

const (
	// ringNap is how long a reader pauses when its rings are empty. With the kernel's
	// slack of 50 µs it takes about 150 µs. Without a pause, the reader would compete
	// with the program in the kernel for the processor and for the cache.
	ringNap = 100 * time.Microsecond
	// ringNaps is how many pauses in succession find nothing before the reader waits
	// to be woken. Each costs some 30 µs of a processor: on an idle server, more of them
	// cost more than the knock.
	ringNaps = 2
	// ringGrace is how long a reader reads rings on after FlagRing was cleared: a
	// processor may still be at a datagram.
	ringGrace = 2 * time.Millisecond
)

// ringSource is the source of datagrams that the program at the driver has put into
// rings. Without rings it only waits. The rotation gives it rings and takes them away
// (swap); only its reader reads them.
type ringSource struct {
	waiter *udp.Waiter
	routes *routes
	peers  []*ringSource // all of the receiver
	ring   *xdp.Ring     // nil: none
	naps   int           // in succession, without a datagram
	asleep atomic.Bool

	hasChange atomic.Bool
	mu        sync.Mutex
	change    *ringChange // nil: none is pending
	failed    bool

	waits ringWaits
}

// ringChange replaces the rings of a source.
type ringChange struct {
	next *xdp.Ring
	done chan struct{} // closed once the source uses the next rings, and the old ones are empty
}

// ringWaits are the times that datagrams have spent in rings. The reader writes them.
type ringWaits struct{ total, longest atomic.Int64 }

func newRingSource(routes *routes) (*ringSource, error) {
	w, err := udp.NewWaiter()
	if err != nil {
		return nil, err
	}
	return &ringSource{waiter: w, routes: routes}, nil
}

// swap makes the source use the next rings, after it has read the present ones until
// they are empty. The program must not fill those any longer. swap does not wait.
func (src *ringSource) swap(next *xdp.Ring) (done <-chan struct{}) {
	c := &ringChange{next, make(chan struct{})}
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.failed {
		close(c.done)
		return c.done
	}
	src.change = c
	src.hasChange.Store(true)
	src.wake()
	return c.done
}

func (src *ringSource) wake() { src.waiter.Wake() }

// fill implements source.
func (src *ringSource) fill(b *batch, wait time.Duration) error {
	if src.hasChange.Load() {
		return src.takeChange(b)
	}
	if src.read(b) || wait == 0 {
		return nil
	}
	if src.ring != nil {
		if src.naps < ringNaps {
			src.naps++
			nap(ringNap)
			src.read(b)
			return nil
		}
		src.asleep.Store(true)
		if !src.ring.Sleep() {
			src.asleep.Store(false)
			src.read(b)
			return nil
		}
	}
	err := src.waiter.Wait(wait)
	if src.ring != nil {
		src.ring.Awake()
		src.asleep.Store(false)
	}
	if err != nil {
		src.fail()
		return err
	}
	for _, ok := src.waiter.Next(); ok; _, ok = src.waiter.Next() {
		// The readers share what the program wakes.
		src.ring.Woken()
		for _, peer := range src.peers {
			if peer != src && peer.asleep.Load() {
				peer.wake()
			}
		}
	}
	src.naps = 0
	src.read(b)
	return nil
}

// read moves datagrams into the batch while it has room, and reports whether there was
// one. They must not be dropped at the shard: if the reader waits there, the rings
// fill, and the program decides by the shares.
func (src *ringSource) read(b *batch) bool {
	if src.ring == nil {
		return false
	}
	before := b.n
	var now, total, longest time.Duration
	for b.n < batchSize {
		records := src.ring.Next(batchSize - b.n)
		if len(records) == 0 {
			break
		}
		if now == 0 {
			now = xdp.Monotonic()
		}
		for i := range records {
			r := &records[i]
			n, arrival := b.n, time.Duration(r.Arrival)
			copy(b.data[n][:], r.Datagram[:])
			b.sizes[n] = uint8(len(r.Datagram))
			b.places[n] = src.routes.places(r.To, arrival)
			b.origins[n].Set(r.Source, r.Port)
			b.n++
			total, longest = total+now-arrival, max(longest, now-arrival)
		}
		src.ring.Release()
	}
	if b.n == before {
		return false
	}
	src.naps, b.keep = 0, true
	src.waits.total.Add(int64(total))
	if int64(longest) > src.waits.longest.Load() {
		src.waits.longest.Store(int64(longest))
	}
	return true
}

// takeChange reads the present rings until they are empty, and then uses the next ones.
// It must be called again while it fills the batch.
func (src *ringSource) takeChange(b *batch) error {
	if src.read(b) {
		return nil
	}
	if src.ring != nil {
		nap(ringGrace)
		if src.read(b) {
			return nil
		}
		src.waiter.Skip()
		src.waiter.Remove(int(src.ring.File().Fd()))
		src.ring = nil
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	c := src.change
	src.change = nil
	src.hasChange.Store(false)
	defer close(c.done)
	if c.next == nil {
		return nil
	}
	if err := src.waiter.Add(int(c.next.File().Fd())); err != nil {
		src.failed = true
		return err
	}
	src.ring, src.naps = c.next, 0
	return nil
}

// fail releases the rotation, which may wait for a change.
func (src *ringSource) fail() {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.failed = true
	if src.change != nil {
		close(src.change.done)
		src.change = nil
	}
}

// close implements source.
func (src *ringSource) close() { src.waiter.Close() }

// nap pauses the thread for a time that is too short for the runtime's timers.
func nap(d time.Duration) {
	pause := unix.NsecToTimespec(int64(d))
	unix.Nanosleep(&pause, nil)
}

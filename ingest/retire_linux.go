package ingest

import (
	"sync"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
)

const (
	// maxDrain bounds how often a socket is read that must be closed but could
	// not be shut, so that a flood cannot keep it open.
	maxDrain = 64
	// maxErrors is the number of errors after which a socket is treated as
	// broken.
	maxErrors = 16
)

// removal is a socket that must be closed without losing its datagrams. The
// source attaches a filter that refuses everything (shut), reads the queue until
// it is empty, counts the kernel's drops, and then reads once more: datagrams
// that passed the old filter may have arrived late.
type removal struct {
	*socket
	closed *sync.WaitGroup // Done is called when the socket is closed

	begun, shut, counted bool
	reads, errors        int
}

// retire closes the removed sockets, until none is left or the batch is full.
func (src *socketSource) retire(b *batch) {
	src.waiter.Skip() // no event of this round may refer to a closed socket
	src.takeAdded()   // a socket can be removed before it was ever read
	src.mu.Lock()
	src.leaving = append(src.leaving, src.removed...)
	src.removed = nil
	src.hasRemovals.Store(false)
	src.mu.Unlock()
	for len(src.leaving) > 0 {
		r := src.leaving[0]
		if !src.drainSocket(r, b) {
			return // the batch is full
		}
		src.drops.Add(r.newDrops())
		if !r.counted {
			r.counted, r.reads, r.errors = true, 0, 0
			continue
		}
		delete(src.open, r.fd)
		unix.Close(r.fd)
		r.closed.Done()
		src.leaving = src.leaving[1:]
	}
}

// drainSocket reads the queue of a socket, and reports whether it is empty.
func (src *socketSource) drainSocket(r *removal, b *batch) bool {
	if !r.begun {
		r.begun, r.shut = true, shut(r.fd) == nil
	}
	for b.n < batchSize {
		switch err := src.recvInto(r.fd, *r.port.places.Load(), b); {
		case err == nil:
			b.keep = true
			if r.reads++; !r.shut && r.reads >= maxDrain {
				return true
			}
		case err == unix.EAGAIN, r.errors >= maxErrors:
			return true
		default:
			r.errors++ // from an earlier datagram; more datagrams may be queued behind it
		}
	}
	return false
}

// shut attaches a filter that refuses everything.
func shut(fd int) error { return prefilter.Attach(fd, prefilter.RefuseAll()) }

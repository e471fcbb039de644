package ingest

import (
	"sync"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
)

const (
	// maxDrain bounds how often a socket that is being closed and cannot be shut
	// is read, so that a flood cannot keep it open.
	maxDrain = 64
	// maxErrors is how many errors a socket may report before it is taken for
	// broken.
	maxErrors = 16
)

// removal is a socket that is to be closed without losing what it holds:
// nothing more comes in (shut), then it is emptied, then the kernel's drops are
// counted, and then it is emptied once more, of what was on its way when it was
// shut.
type removal struct {
	*socket
	closed *sync.WaitGroup // called when it is closed

	begun, shut, counted bool
	reads, errors        int
}

// retire goes on with the sockets that are to be closed, until they are or the
// batch is full.
func (src *sockets) retire(b *batch) {
	src.waiter.Skip() // no event of this round may name a socket that is closed
	src.takeAdded()   // a socket may be removed before it was ever read
	src.mu.Lock()
	src.leaving = append(src.leaving, src.removed...)
	src.removed = nil
	src.asked.Store(false)
	src.mu.Unlock()
	for len(src.leaving) > 0 {
		r := src.leaving[0]
		if !src.empty(r, b) {
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

// empty reads what a socket holds, and reports whether that is all of it. A
// socket that is shut has an end.
func (src *sockets) empty(r *removal, b *batch) bool {
	if !r.begun {
		r.begun, r.shut = true, shut(r.fd) == nil
	}
	for b.n < batchSize {
		switch err := src.receive(r.fd, *r.port.places.Load(), b); {
		case err == nil:
			b.keep = true
			if r.reads++; !r.shut && r.reads >= maxDrain {
				return true
			}
		case err == unix.EAGAIN, r.errors >= maxErrors:
			return true
		default:
			r.errors++ // of an earlier datagram; more may wait behind it
		}
	}
	return false
}

// shut has a socket refuse everything.
func shut(fd int) error { return prefilter.Attach(fd, prefilter.RefuseAll()) }

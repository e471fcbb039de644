package ingest

import (
	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
)

// obey carries out what was asked, and reports whether to stop.
func (r *reader) obey() (stop bool) {
	var count [8]byte
	unix.Read(r.wake, count[:])
	r.mu.Lock()
	removed := r.removed
	r.removed = nil
	stop = r.stopping
	r.mu.Unlock()
	r.adopt()
	for _, s := range removed {
		r.retire(s.socket)
		s.closed.Done()
	}
	return stop
}

// retire closes a socket without losing what it holds: nothing more comes in,
// then it is emptied, and then the kernel's last word is heard.
func (r *reader) retire(s *socket) {
	r.flush()
	shut := prefilter.Attach(s.fd, prefilter.RefuseAll()) == nil
	r.empty(s, shut)
	r.shard.kernel.Add(s.newDrops())
	// A datagram that was on its way when the socket was shut has arrived now.
	r.empty(s, shut)
	delete(r.sockets, int32(s.fd))
	unix.Close(s.fd)
}

// empty reads all that a socket holds, and loses none of it to a full ring: of
// a socket that is shut, there is an end to it.
func (r *reader) empty(s *socket, shut bool) {
	errors := 0
	for i := 0; shut || i < maxDrain; i++ {
		err := r.take(s)
		if err == unix.EAGAIN || errors > maxErrors {
			break
		}
		if err != nil {
			errors++ // of an earlier datagram; more may wait behind it
			continue
		}
		r.shard.pushPatiently(r.batch)
		r.batch = r.shard.next()
		r.batch.n = 0
	}
}

// maxErrors is how many errors in a row a socket may report before it is taken
// for broken.
const maxErrors = 16

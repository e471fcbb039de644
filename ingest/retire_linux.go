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
	shut := prefilter.Attach(s.fd, prefilter.RefuseAll()) == nil
	for i := 0; (shut || i < maxDrain) && r.read(s); i++ {
	}
	r.flush()
	r.shard.kernel.Add(s.newDrops())
	delete(r.sockets, int32(s.fd))
	unix.Close(s.fd)
}

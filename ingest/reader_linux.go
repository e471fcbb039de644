package ingest

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	maxEvents = 256
	// maxDrain bounds how many batches are read from a socket that is being
	// closed and cannot be shut, so that a flood cannot keep it open.
	maxDrain = 64
)

// reader reads all its sockets on a thread of its own. Others reach it only
// through add, remove and stop.
type reader struct {
	shard   *shard
	epoll   int
	wake    int // eventfd: commands wait
	sockets map[int32]*socket
	batch   *batch

	mu       sync.Mutex
	removed  []removal
	added    []*socket
	stopping bool
	stopped  bool // run has ended
}

// removal is a socket to close, and who waits for it.
type removal struct {
	*socket
	closed *sync.WaitGroup
}

func newReader(sh *shard) (*reader, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	r := &reader{shard: sh, epoll: epoll, wake: wake, sockets: map[int32]*socket{}, batch: sh.next()}
	if err := r.watch(wake); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// add hands a socket to the reader, which from then on owns it. On an error
// it stays with the caller.
func (r *reader) add(s *socket) error {
	// The socket has to be known before its first event: run takes the list
	// of added ones before it looks at any event of theirs.
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.watch(s.fd); err != nil {
		return err
	}
	r.added = append(r.added, s)
	return nil
}

// remove has the reader read what the socket holds, close it, and then tell
// the group.
func (r *reader) remove(s *socket, closed *sync.WaitGroup) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return // close will do it
	}
	closed.Add(1)
	r.removed = append(r.removed, removal{s, closed})
	r.signal()
}

// stop has run close all sockets and return.
func (r *reader) stop() {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	r.signal()
}

// close frees everything. Neither run nor the rotation may run any more.
func (r *reader) close() {
	r.adopt()
	for _, s := range r.sockets {
		r.shard.kernel.Add(s.newDrops())
		unix.Close(s.fd)
	}
	unix.Close(r.wake)
	unix.Close(r.epoll)
}

func (r *reader) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

// signal cannot fail: the counter of an eventfd is full only at 2^64.
func (r *reader) signal() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	unix.Write(r.wake, one[:])
}

// run reads until stop. The thread ends with it; what it was given stays open
// until close.
func (r *reader) run() error {
	runtime.LockOSThread()
	pprof.SetGoroutineLabels(labelReader)
	defer r.end()
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n, err := unix.EpollWait(r.epoll, events, 0)
		if n == 0 && err == nil {
			// A thread that waits keeps its processor for up to 10 ms, until
			// the runtime takes it away: the task may be in need of it.
			r.shard.letRun()
			n, err = unix.EpollWait(r.epoll, events, r.patience())
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for datagrams: %w", os.NewSyscallError("epoll_wait", err))
		}
		r.adopt()
		woken := false
		for _, e := range events[:n] {
			if e.Fd == int32(r.wake) {
				woken = true
			} else if s := r.sockets[e.Fd]; s != nil {
				r.read(s)
			}
		}
		if !r.shard.crowded() {
			r.flush()
		}
		// Only now, when no event of this round is left that could name a
		// closed socket, are sockets closed.
		if woken && r.obey() {
			r.flush()
			return nil
		}
	}
}

// patience is how long to wait for datagrams, in milliseconds: for ever, but
// if the batch was held back because the ring is crowded.
func (r *reader) patience() int {
	if r.batch.n > 0 {
		return 1
	}
	return -1
}

// adopt takes over the sockets that were added.
func (r *reader) adopt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.added {
		r.sockets[int32(s.fd)] = s
	}
	r.added = r.added[:0]
}

// read adds what waits at a socket to the batch, which goes on when it is
// full. An error is of no concern: the next datagram comes all the same.
func (r *reader) read(s *socket) {
	if r.take(s) == nil && r.batch.n == batchSize {
		r.flush()
	}
}

// take adds what waits at a socket to the batch, as far as there is room.
func (r *reader) take(s *socket) error {
	b := r.batch
	n, err := receive(s.fd, b)
	if err != nil {
		return err
	}
	places := *s.port.places.Load()
	for i := b.n; i < b.n+n; i++ {
		b.places[i] = places
	}
	b.n += n
	return nil
}

// flush hands the batch on, if there is anything in it. At a full ring its
// datagrams are dropped.
func (r *reader) flush() {
	if r.batch.n == 0 {
		return
	}
	if r.shard.push(r.batch) {
		r.batch = r.shard.next()
	}
	r.batch.n = 0
}

// end lets nobody wait for a reader that reads no more. Its sockets stay open
// until close: the rotation may still look at them.
func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	for _, s := range r.removed {
		r.added = append(r.added, s.socket)
		s.closed.Done()
	}
	r.removed = nil
}

package real

import (
	"container/heap"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// direction is one direction of a relay. It belongs to one thread.
type direction struct {
	relay    *relay
	from, to *port
	up       bool // from the client to the server
	waiting  frames
	order    uint64
	arrivals []time.Duration
}

// most is how many frames a direction receives before it looks for those that are due.
const most = 64

func (d *direction) run() error {
	fds := []unix.PollFd{{Fd: int32(d.from.fd), Events: unix.POLLIN}, {Fd: int32(d.relay.stop), Events: unix.POLLIN}}
	for {
		if err := d.deliver(); err != nil {
			return err
		}
		var wait *unix.Timespec
		if len(d.waiting) > 0 {
			t := unix.NsecToTimespec(max(0, int64(time.Until(d.waiting[0].due))))
			wait = &t
		}
		if _, err := unix.Ppoll(fds, wait, nil); err != nil && err != unix.EINTR {
			return os.NewSyscallError("ppoll", err)
		}
		if fds[1].Revents != 0 {
			return nil
		}
		for range most {
			frame, at, err := d.from.receive()
			if err == unix.EAGAIN || err == unix.EINTR || err == unix.ENETDOWN {
				break
			}
			if err != nil {
				return os.NewSyscallError("recvmsg", err)
			}
			d.forward(frame, at)
		}
	}
}

// forward puts the deliveries of a frame into the queue.
func (d *direction) forward(b []byte, at time.Time) {
	p, ok := parse(b, d.up)
	if !ok {
		return
	}
	r := d.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &r.lanes[p.lane]
	path := l.down
	if d.up {
		path = l.up
	}
	var began time.Duration
	began, d.arrivals = path.Send(d.arrivals[:0], time.Duration(at.UnixNano()), len(b)-ethernetBytes)
	if p.knock && l.trace.began.IsZero() {
		l.trace.began = time.Unix(0, int64(began))
	}
	for _, due := range d.arrivals {
		d.order++
		heap.Push(&d.waiting, delivery{p, time.Unix(0, int64(due)), d.order, append([]byte(nil), b...)})
	}
}

func (d *direction) deliver() error {
	for len(d.waiting) > 0 && !time.Now().Before(d.waiting[0].due) {
		f := heap.Pop(&d.waiting).(delivery)
		if err := d.to.send(f.frame); err != nil {
			return err
		}
		d.relay.delivered(f.packet)
	}
	return nil
}

// delivered notes a delivery in the trace of its lane.
func (r *relay) delivered(p packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.lanes[p.lane].trace
	switch {
	case p.knock:
		if t.arrived++; t.arrived == t.knocks {
			t.last = time.Now()
		}
	case p.answer && t.answered.IsZero():
		t.answered = time.Now()
	}
}

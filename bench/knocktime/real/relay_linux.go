package real

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/clock"
	"sallyport/bench/knocktime"
	"sallyport/bench/knocktime/line"
)

// relay forwards frames between two ports. Each lane has a separate line.
type relay struct {
	near, far *port
	stop      int // an eventfd that ends both directions
	running   sync.WaitGroup
	failed    chan error

	mu    sync.Mutex
	lanes [lanes]lane
}

// lane is the line of a client, and the trace of its exchange.
type lane struct {
	up, down *line.Path
	trace    trace
}

// trace has the times of an exchange on the line. They are zero if it did not happen.
type trace struct {
	knocks   int       // of request and response; the client may send more
	began    time.Time // the first bit of the first knock left
	last     time.Time // the last knock was delivered
	answered time.Time // the service's first SYN-ACK was delivered
	arrived  int       // knocks
}

// startRelay starts a thread for each direction, on a core. The relay owns the ports.
func startRelay(near, far *port, core int) (r *relay, err error) {
	r = &relay{near: near, far: far, failed: make(chan error, 2)}
	if r.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		near.close()
		far.close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	for lane := range r.lanes {
		r.begin(lane, 0, line.Slow, line.Undisturbed, 0)
	}
	for _, d := range []*direction{
		{relay: r, from: near, to: far, up: true}, {relay: r, from: far, to: near},
	} {
		r.running.Go(func() {
			knocktime.Prompt()
			// A veth delivers the packets of several cores in any order.
			err := clock.PinThread(0, core)
			if err == nil {
				err = d.run()
			}
			if err != nil {
				r.failed <- fmt.Errorf("relay: %w", err)
			}
		})
	}
	return r, nil
}

// begin gives a lane another line, and begins a trace of an exchange with a number of
// knocks. No frame of the lane may be on the way. Lines with the same stream draw the
// same numbers.
func (r *relay) begin(lane, knocks int, l line.Line, m line.Model, stream uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := &r.lanes[lane]
	at.up, at.down = line.NewPath(l, m, seed, 2*stream), line.NewPath(l, m, seed, 2*stream+1)
	at.trace = trace{knocks: knocks}
}

func (r *relay) traced(lane int) trace {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lanes[lane].trace
}

// failure returns an error if frames were lost that the line has not lost.
func (r *relay) failure() error {
	select {
	case err := <-r.failed:
		return err
	default:
	}
	for _, p := range []*port{r.near, r.far} {
		if n, err := p.dropped(); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("the relay has lost %d frames: the machine is too busy", n))
		}
	}
	return nil
}

func (r *relay) close() error {
	_, err := unix.Write(r.stop, binary.NativeEndian.AppendUint64(nil, 1))
	r.running.Wait()
	r.near.close()
	r.far.close()
	unix.Close(r.stop)
	return os.NewSyscallError("write", err)
}

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

package real

import (
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

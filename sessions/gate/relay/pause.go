package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// pauseTime is how long a connection may take to write the bytes it has read, once it is paused.
const pauseTime = 5 * time.Second

// errPaused means that a direction has written all that it has read, and reads no further.
var errPaused = errors.New("paused")

// ErrPaused is the error of Carry and Resume if Paused has got the connection.
var ErrPaused = fmt.Errorf("carry a connection: %w", errPaused)

// Pair is a client's connection and the one to its upstream, of which nothing is in this
// process: all that one side has sent was passed on, or waits in the kernel. Upstream is a
// *net.TCPConn or a *net.UnixConn.
type Pair struct {
	Client   *net.TCPConn
	Upstream net.Conn
}

// pausing stops the copying of a connection once its channel is closed.
type pausing struct {
	when <-chan struct{} // nil: never
	stop chan struct{}
	wg   sync.WaitGroup
	late bool // bytes may be lost; to be read after end
	// resumed: an end of file may have been passed on before.
	resumed bool
}

// begin waits for the pause, in a goroutine. A deadline for reading stops a copy between
// two reads: io.Copy writes all that it has read before it reads again, and so does
// splice(2) with the bytes in its pipe. If a receiver does not take them within the time,
// they are lost.
func (p *pausing) begin(when <-chan struct{}, within time.Duration, conns ...stream) {
	p.when, p.stop = when, make(chan struct{})
	if when == nil {
		return
	}
	p.wg.Go(func() {
		select {
		case <-p.stop:
			return
		case <-when:
		}
		past := time.Unix(1, 0)
		for _, c := range conns {
			c.SetReadDeadline(past)
		}
		timer := time.NewTimer(cmp.Or(within, pauseTime))
		defer timer.Stop()
		select {
		case <-p.stop:
		case <-timer.C:
			p.late = true
			for _, c := range conns {
				c.SetWriteDeadline(past)
			}
		}
	})
}

// end must be called when no direction copies any longer.
func (p *pausing) end() {
	close(p.stop)
	p.wg.Wait()
}

// of returns errPaused for the error of a direction that was stopped by the pause.
func (p *pausing) of(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	select {
	case <-p.when:
		return errPaused
	default:
		return err
	}
}

// Resume carries a pair on, as Carry does: Upstream must be that of the pair, and its
// owner is not checked again.
func (t TCP) Resume(ctx context.Context, p Pair) (Carried, error) {
	up, ok := p.Upstream.(stream)
	if !ok {
		abort(p.Client)
		p.Upstream.Close()
		return Carried{}, fmt.Errorf("carry a connection on: got a connection of type %T", p.Upstream)
	}
	defer context.AfterFunc(ctx, func() { abort(p.Client, up) })()
	if t.Begins != nil {
		t.Begins(up.LocalAddr())
	}
	return t.copyBoth(p.Client, up, true)
}

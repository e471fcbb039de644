package client

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"sallyport/sessions/syserror"
)

// A server that can accept a connection before it looks from whom it is (a profile
// without handshake = "granted") resets it if the grant comes later than that. The proof
// (prove) has waited for such a reset for a round trip; a busy server, or a path with
// jitter, may still bring one.
// So in its first moments, until the service has sent a byte, the Conn keeps what its
// caller writes, and after a reset sends it again on another connection of the same race.
//
// Nothing is lost by that. Nothing is doubled at a server that resets before it reads, as
// the gate does, and at a service that speaks first. A service that reads, acts, and then
// resets the connection without a byte may get the same again, at most maxAgain times: no
// TCP can distinguish that reset from the gate's. With handshake = "granted" a reset is hardly
// the gate's (it has too many leases for its filter, or too many connections), so nothing
// is sent twice: the Conn changes only while its caller has not written. An end in order
// is never the gate's, also if it shows only by the reset that answers the next packet.
//
// What the Conn cannot keep (above maxKept, or of a caller that takes the TCP connection)
// waits until the connection is as old as one must be that does not change.

const (
	// firstMoments is how long after its beginning a connection may change to another one:
	// longer, if it needs that to prove itself.
	firstMoments = 250 * time.Millisecond
	// maxKept is how many bytes a Conn keeps. One that was given more does not change.
	maxKept = 64 << 10
	// maxAgain is how often the bytes are sent again.
	maxAgain = 2
)

// steady is the part of a Conn that survives a reset.
type steady struct {
	writing sync.Mutex // held by a Write, and by a change; guards what follows
	over    bool       // the Conn keeps its connection from now on
	kept    []byte
	repeats int // how often kept may still be sent again
	// again returns another connection, which has proved itself.
	again func() (*Conn, error)
	ctx   context.Context // done when the Conn is closed

	reading sync.Mutex   // held by a Read until it has recorded what it has seen; after writing
	reset   *net.TCPConn // of which a Read has seen the reset: the kernel reports it once
}

func (c *Conn) firstMoments() time.Duration { return max(firstMoments, c.proof) }

// settle ends the first moments. The caller holds writing.
func (c *Conn) settle() { c.over, c.kept = true, nil }

// settled reports whether the first moments are over.
func (c *Conn) settled() bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.settledLocked()
}

func (c *Conn) settledLocked() bool {
	if _, age := c.current(); !c.over && (c.greeted.Load() || age >= c.firstMoments()) {
		c.settle()
	}
	return c.over
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	if !c.settledLocked() && len(c.kept)+len(b) > maxKept {
		if err := c.outlast(); err != nil {
			c.writing.Unlock()
			return 0, err
		}
		c.settle()
	}
	tcp, _ := c.current()
	if c.settledLocked() {
		c.writing.Unlock()
		return tcp.Write(b)
	}
	defer c.writing.Unlock()
	c.kept = append(c.kept, b...)
	n, err := tcp.Write(b)
	switch {
	case isReset(err):
		if err := c.lost(tcp, err); err != nil {
			return n, err
		}
		return len(b), nil // the other connection has it
	case err != nil:
		c.kept = c.kept[:len(c.kept)-len(b)+n]
	}
	return n, err
}

// outlast waits until the connection has proved itself without the help of what is kept,
// and changes to another connection after a reset. It returns the reset if that failed.
// The caller holds writing.
func (c *Conn) outlast() error {
	tcp, age := c.current()
	timer := time.NewTimer(c.proof - age)
	defer timer.Stop()
	select {
	case <-c.ctx.Done():
		return net.ErrClosed
	case <-timer.C:
	}
	// A reset shows as such, or as an end if a reader has seen it.
	data, err := unread(tcp)
	if data || err != nil && !isReset(err) {
		return nil
	}
	return c.lost(tcp, err)
}

// lost takes the reset that a writer has seen, and changes to another connection. The
// service may have spoken before, or have ended the connection in order: then, and after
// CloseWrite, lost returns the reset. The caller holds writing.
func (c *Conn) lost(ended *net.TCPConn, reset error) error {
	if c.halfClosed.Load() {
		return reset
	}
	c.reading.Lock() // a reader of a connection that was reset returns at once
	defer c.reading.Unlock()
	if !c.greeted.Load() && (c.reset == ended || silentReset(ended, reset)) {
		return c.changeLocked(ended, reset)
	}
	c.settle()
	return reset
}

// silentReset reports whether a connection was reset without unread data, and without an
// end in order before. A write reports a reset after such an end as EPIPE; a read reports
// the end.
func silentReset(tcp *net.TCPConn, wrote error) bool {
	data, err := unread(tcp)
	return canPeek && !data && (syserror.Reset.In(wrote) || syserror.Reset.In(err))
}

// change takes the end of a connection that a reader has seen. Changed: the Conn has
// another connection.
func (c *Conn) change(ended *net.TCPConn, err error) (changed bool, _ error) {
	// The kernel reports a reset once. If a writer has received the report, a reader sees
	// an end in order; and the writer has changed the connection when it releases the lock.
	c.writing.Lock()
	defer c.writing.Unlock()
	if tcp, _ := c.current(); tcp != ended {
		return true, nil
	}
	if err == io.EOF {
		c.settle()
		return false, err
	}
	err = c.changeLocked(ended, err)
	return err == nil, err
}

// changeLocked changes to another connection after a reset, or returns the reset.
func (c *Conn) changeLocked(ended *net.TCPConn, reset error) error {
	for !c.settledLocked() && (len(c.kept) == 0 || c.repeats > 0) {
		next, err := c.again()
		if err != nil {
			break
		}
		if len(c.kept) > 0 {
			c.repeats--
			_, err = next.tcp.Write(c.kept)
		}
		if err == nil && c.halfClosed.Load() {
			err = next.tcp.CloseWrite()
		}
		if !c.adopt(next) {
			return net.ErrClosed
		}
		ended.Close()
		if ended = next.tcp; err == nil {
			return nil
		} else if !silentReset(ended, err) {
			break
		}
	}
	c.settle()
	return reset
}

// adopt makes a connection that of the Conn, with its options. Not ok: the Conn is closed.
func (c *Conn) adopt(next *Conn) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		next.tcp.Close()
		return false
	}
	c.tcp, c.first, c.began = next.tcp, next.first, time.Now()
	for _, set := range c.options {
		set(c.tcp)
	}
	if next.greeted.Load() {
		c.greeted.Store(true)
	}
	return true
}

// keep lets a connection to the service of a lane change to another one after a reset.
func (c *Conn) keep(ctx context.Context, l *lane) {
	if c.greeted.Load() {
		return
	}
	if c.repeats = maxAgain; c.granted {
		c.repeats = 0
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.over, c.again = false, func() (*Conn, error) {
		more := newLane(l.service, time.Now().Add(-firstTry), 0, l.was)
		more.until, more.isn = l.until, l.isn
		conns := newConnector(true, false)
		conns.lanes = []*lane{more}
		seen := conns.wait(c.ctx)
		return seen.conn, seen.err
	}
}

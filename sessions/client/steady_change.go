package client

import (
	"context"
	"io"
	"net"
	"time"

	"sallyport/sessions/syserror"
)

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
	if c.greeted.Load() || c.proved {
		return // a proof is not repeated, and no byte of the service went before it
	}
	if c.repeats = maxAgain; c.granted {
		c.repeats = 0
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.over, c.again = false, func() (*Conn, error) {
		more := newLane(l.service, time.Now().Add(-firstTry), 0, l.was)
		more.until, more.isn = l.until, l.isn
		conns := newConnector(c.ctx, true, false)
		conns.lanes = []*lane{more}
		seen := conns.wait(c.ctx)
		return seen.conn, seen.err
	}
}

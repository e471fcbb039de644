package client

import (
	"context"
	"net"
	"sync"
	"time"
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

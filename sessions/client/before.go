package client

import (
	"sync"
	"time"
)

// maxFirstSYN is how long the client waits for an answer to the SYN of an earlyConn.
// The kernel would send the SYN again after a second, and then after the knock.
const maxFirstSYN = 900 * time.Millisecond

// before is what the service did before the knock.
type before uint8

const (
	beforeUnknown before = iota
	beforeSilent         // no answer to the SYN, so far
	beforeRefused
	beforeClosed // it accepted the connection, and closed it at once
	beforeOpen
)

// earlyConn is a connection to the service that the client begins before it knocks.
// The kernel sends the SYN before the first knock, and the knock does not wait for an
// answer. A service that drops the SYN, or rejects it, was not open before the knock.
// On Linux, the connection is half-open, as described at halfOpen. A nil earlyConn
// knows nothing.
type earlyConn struct {
	mu    sync.Mutex
	fd    int // -1: closed
	state before
	begun time.Time
	since time.Time // the connection succeeded
}

func newEarlyConn(fd int) *earlyConn {
	c := &earlyConn{fd: fd, state: beforeSilent, begun: time.Now()}
	go c.observe()
	return c
}

// observe waits for the answer, and then closes the connection.
func (c *earlyConn) observe() {
	for end := time.Now().Add(maxFirstSYN); ; {
		c.mu.Lock()
		wait := c.updateLocked(end)
		fd, connected := c.fd, !c.since.IsZero()
		c.mu.Unlock()
		if wait <= 0 {
			return
		}
		awaitEvent(fd, connected, wait)
	}
}

// updateLocked updates the state, and returns how long another answer may still come.
// It closes the connection if none may.
func (c *earlyConn) updateLocked(end time.Time) time.Duration {
	if c.fd < 0 {
		return 0
	}
	now := time.Now()
	if c.since.IsZero() {
		switch answer := connectAnswer(c.fd); answer {
		case beforeSilent:
			if wait := end.Sub(now); wait > 0 {
				return wait
			}
		case beforeOpen:
			c.state, c.since = beforeUnknown, now
		default:
			c.state = answer
		}
	}
	if !c.since.IsZero() {
		proof := proofTime(c.since.Sub(c.begun))
		lasts := now.Sub(c.since) >= proof || canHalfOpen
		data, closed := false, false
		if !lasts {
			data, closed = peek(c.fd)
		}
		switch {
		case lasts || data:
			c.state = beforeOpen
		case closed:
			c.state = beforeClosed
		default:
			return proof - now.Sub(c.since)
		}
	}
	closeFD(c.fd)
	c.fd = -1
	return 0
}

// answer returns what the service has done so far. It does not wait.
func (c *earlyConn) answer() before {
	if c == nil {
		return beforeUnknown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateLocked(time.Now().Add(time.Hour)) // only observe decides that no answer comes
	return c.state
}

// close ends the connection.
func (c *earlyConn) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		closeFD(c.fd)
		c.fd = -1
	}
}

package client

import (
	"net/netip"
	"sync"
	"time"
)

// maxFirstSYN is how long the client waits for an answer to the SYN of an earlyConn.
// The kernel would send the SYN again after a second, and then after the knock.
const maxFirstSYN = 900 * time.Millisecond

// earlyConn is a connection to the service that the client begins before it knocks.
// The kernel sends the SYN before the first knock, and the knock does not wait for an
// answer. A service that drops the SYN, or rejects it, was not open before the knock.
// A nil earlyConn is never open.
type earlyConn struct {
	service netip.AddrPort
	began   time.Time
	expiry  *time.Timer

	mu          sync.Mutex
	fd          int  // -1: closed
	established bool // the service accepted the connection before the knock
}

func newEarlyConn(service netip.AddrPort, fd int) *earlyConn {
	c := &earlyConn{service: service, began: time.Now(), fd: fd}
	c.expiry = time.AfterFunc(maxFirstSYN, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.established {
			c.closeLocked()
		}
	})
	return c
}

// beforeKnock is called immediately before the client knocks. A connection that is
// established by then does not expire.
func (c *earlyConn) beforeKnock() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.established = c.fd >= 0 && connected(c.fd)
}

// open reports whether the service accepted the connection, and did not close it at
// once. It does not wait.
func (c *earlyConn) open(service netip.AddrPort) bool {
	if c == nil || c.service != service {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 || !connected(c.fd) {
		return false
	}
	data, closed := peek(c.fd)
	return data || !closed && time.Since(c.began) >= minLifetime
}

func (c *earlyConn) close() {
	if c == nil {
		return
	}
	c.expiry.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeLocked()
}

func (c *earlyConn) closeLocked() {
	if c.fd >= 0 {
		closeFD(c.fd)
		c.fd = -1
	}
}

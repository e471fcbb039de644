//go:build !linux && !darwin

package client

import (
	"errors"
	"net"
)

// awaitGreeting waits until the service sends data, closes the connection, or the
// deadline for reads is over. It returns the first byte of the data.
func awaitGreeting(c *net.TCPConn) (first []byte, came bool, err error) {
	b := make([]byte, 1)
	n, err := c.Read(b)
	return b[:n], n > 0, err
}

// canPeek is false: unread has no answer.
const canPeek = false

// unread would report whether a connection has unread data.
func unread(*net.TCPConn) (data bool, err error) { return false, errors.ErrUnsupported }

package client

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"sallyport/sessions/syserror"
)

// Watch is how a client watches a service.
type Watch string

// The ways to watch.
const (
	// WatchDefault is WatchSYN.
	WatchDefault Watch = ""
	// WatchSYN waits for the answer to a SYN, and then resets the connection. The
	// program behind the port does not see it. On systems other than Linux, it is
	// WatchConnection.
	WatchSYN Watch = "syn"
	// WatchConnection makes a whole connection, which must prove itself.
	WatchConnection Watch = "connection"
	// WatchNone does not watch.
	WatchNone Watch = "none"
)

// Valid reports whether w is a way to watch.
func (w Watch) Valid() bool {
	switch w {
	case WatchDefault, WatchSYN, WatchConnection, WatchNone:
		return true
	}
	return false
}

// sighting is what the watch at a service saw.
type sighting struct {
	conn   *Conn // with a whole connection, if the service answered
	before before
	err    error      // nil: the service answered
	icmp   icmpErrors // for the knocks
	local  netip.Addr // of this computer, of the last connection; invalid: not known
}

// closedByProgram reports whether the service accepted the connection, and then
// closed it in order. A server that is open for another address resets it.
func closedByProgram(err error) bool {
	return errors.Is(err, errClosedAtOnce) && errors.Is(err, io.EOF)
}

func refused(err error) bool { return syserror.Refused.In(err) }

// settleTime is how long a server may need to open a service.
const settleTime = 50 * time.Millisecond

// settle waits if the service was open before the knock: an answer does not show then
// when the server has opened it for this address.
func (s sighting) settle(ctx context.Context) {
	if s.before != beforeOpen || s.conn != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(settleTime):
	}
}

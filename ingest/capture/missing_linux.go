package capture

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
)

// The pauses between two attempts to bind the missing ports: the first one, which
// doubles after each failure, and the longest one.
const (
	minPause = time.Second
	maxPause = 8 * time.Second
)

// missing are the ports that are not bound: another program has them, or the
// host does not have the address or the interface yet.
type missing struct {
	ports  []netip.AddrPort
	v6only bool
	pause  time.Duration
	next   time.Time // of the next attempt
	logged bool
}

// pauseLeft is the time until the next attempt; negative if nothing is missing.
func (m *missing) pauseLeft() time.Duration {
	if len(m.ports) == 0 {
		return -1
	}
	return max(0, time.Until(m.next)) + time.Millisecond
}

// due reports whether it is time for the next attempt.
func (m *missing) due() bool { return len(m.ports) > 0 && !time.Now().Before(m.next) }

// openMissing binds the missing ports. Ports that are unavailable stay missing. It
// returns the first error of another kind, which leaves the rest missing too.
func (b *socketSource) openMissing() (err error) {
	m := &b.missing
	var still []netip.AddrPort
	var why error
	for i, at := range m.ports {
		err := b.open(at, m.v6only)
		if errors.As(err, new(unavailableError)) {
			if still = append(still, at); why == nil {
				why = err
			}
			continue
		}
		if err != nil {
			m.ports = append(still, m.ports[i:]...)
			m.wait()
			return err
		}
	}
	opened := len(m.ports) - len(still)
	m.ports = still
	switch {
	case len(still) > 0 && !m.logged:
		b.cfg.Log.Warn("failed to bind ports of exchanges; retrying", "ports", len(still), "error", why)
	case opened > 0 && m.logged:
		b.cfg.Log.Info("ports of exchanges bound on retry", "ports", opened)
	}
	m.logged = len(still) > 0
	m.wait()
	return nil
}

// wait begins the next pause.
func (m *missing) wait() {
	m.pause = min(max(minPause, 2*m.pause), maxPause)
	m.next = time.Now().Add(m.pause)
}

// unavailableError is the error for a port that may become available.
type unavailableError struct{ error }

func (e unavailableError) Unwrap() error { return e.error }

// unavailable reports whether an attempt to bind a port may succeed later.
func unavailable(err error) bool {
	var lookup *net.OpError // of an interface's name
	return errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.As(err, &lookup)
}

// Unavailable returns how many ports of a range cannot be bound now, and the error
// of one of them. It binds each port for a moment.
func Unavailable(addresses []netip.Addr, first, last uint16) (n int, why error) {
	on := udp.Addresses(addresses).OnHost()
	for port := int(first); port <= int(last); port++ {
		for _, a := range on {
			fd, err := udp.Socket{V6Only: on.V6Only()}.Open(netip.AddrPortFrom(a, uint16(port)))
			switch {
			case err == nil:
				unix.Close(fd)
			case unavailable(err):
				n, why = n+1, err
			}
		}
	}
	return n, why
}

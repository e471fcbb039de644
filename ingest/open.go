package ingest

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// ensureOpen opens a port, if it is not open.
func (ps *portSet) ensureOpen(at netip.AddrPort, places []schedule.Place, opened *changes) {
	if ps.open[at] != nil {
		return
	}
	p, err := ps.openPort(at, places)
	if err != nil {
		ps.failures.Add(1)
		if ps.failed[at] == nil {
			opened.failed, opened.why = append(opened.failed, at), err
		}
		ps.failed[at] = err
		return
	}
	ps.open[at] = p
	if ps.failed[at] != nil {
		delete(ps.failed, at)
		opened.regained = append(opened.regained, at)
	}
}

// openPort opens the sockets of all sources at a port, or none.
func (ps *portSet) openPort(at netip.AddrPort, places []schedule.Place) (*port, error) {
	p := new(port)
	p.places.Store(&places)
	// The kernel finds a socket of its own a tenth faster than one of a group.
	socketOf := udp.Socket{V6Only: ps.addresses.V6Only(), Shared: len(ps.sources) > 1}
	if socketOf.Shared {
		// Programs of the same user may share a port that allows it, and would
		// then take each other's datagrams: a second server would, unnoticed.
		// A socket that does not share finds out.
		fd, err := probe(at, socketOf.V6Only)
		if err != nil {
			return nil, err
		}
		s := &socket{fd: fd}
		ps.kernel.Add(s.newDrops())
		closeSockets([]*socket{s})
	}
	program := ps.filter.program(at.Port())
	for i, src := range ps.sources {
		socketOf.Prepare = func(fd int) error {
			if err := ps.setup.prepare(fd, i); err != nil {
				return err
			}
			ps.filter.attach(fd, at.Port(), program)
			return nil
		}
		// Bound in the order of the sources, which is how steering counts them.
		fd, err := socketOf.Open(at)
		if err != nil {
			for _, s := range p.sockets {
				ps.kernel.Add(s.newDrops())
			}
			closeSockets(p.sockets)
			return nil, err
		}
		p.sockets = append(p.sockets, &socket{fd: fd, port: p, source: src})
	}
	for i, s := range p.sockets {
		if err := s.source.add(s); err != nil {
			var closed sync.WaitGroup
			for _, added := range p.sockets[:i] {
				added.source.remove(added, &closed)
			}
			closeSockets(p.sockets[i:])
			closed.Wait()
			return nil, fmt.Errorf("watch the socket: %w", err)
		}
	}
	return p, nil
}

// probe binds a port alone, by a socket that takes nothing.
func probe(at netip.AddrPort, v6only bool) (fd int, err error) {
	return udp.Socket{V6Only: v6only, Prepare: func(fd int) error {
		shut(fd) // if that fails, it takes a little
		return nil
	}}.Open(at)
}

// changes are what one reconciliation has to log, on a line each.
type changes struct {
	failed, regained []netip.AddrPort
	why              error
}

func (c changes) log(log *slog.Logger) {
	if c.failed != nil {
		slices.SortFunc(c.failed, netip.AddrPort.Compare)
		log.Warn("failed to open knock ports; retrying every second", "listen", c.failed, "error", c.why)
	}
	if c.regained != nil {
		slices.SortFunc(c.regained, netip.AddrPort.Compare)
		log.Info("knock ports opened on retry", "listen", c.regained)
	}
}

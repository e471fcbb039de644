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

// ensureOpen opens a port if it is closed.
func (ps *portSet) ensureOpen(at netip.AddrPort, places []schedule.Place, opened *portChanges) {
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

// openTraced opens the ports for a trace that are closed, after all ports for knocks: these
// need files first. If one cannot be opened, the trace misses some datagrams, and all
// clients get in, so that is no failure of the server.
func (ps *portSet) openTraced(traced map[uint16]bool) {
	clear(ps.unopened)
	var open int64
	for number := range traced {
		for _, a := range ps.addresses {
			at := netip.AddrPortFrom(a, number)
			if ps.open[at] == nil {
				p, err := ps.openPort(at, nil)
				if err != nil {
					ps.unopened[at] = err
					continue
				}
				ps.open[at] = p
			}
			open++
		}
	}
	ps.tracedCount.Store(open)
	ps.lostCount.Store(int64(len(ps.unopened)))
}

// openPort opens a socket for each source at a port, or none of them.
func (ps *portSet) openPort(at netip.AddrPort, places []schedule.Place) (*port, error) {
	p := new(port)
	p.places.Store(&places)
	var err error
	if p.link, err = udp.Link(at.Addr()); err != nil {
		return nil, err
	}
	// The kernel's lookup of a single socket is a tenth faster than that of a
	// group (SO_REUSEPORT).
	socketOf := udp.Socket{V6Only: ps.addresses.V6Only(), Shared: len(ps.sources) > 1}
	if socketOf.Shared {
		// Other programs of the same user can bind a shared port too, and would
		// take part of its datagrams. A second server would do so unnoticed. An
		// exclusive socket detects that.
		fd, err := probe(at, socketOf.V6Only)
		if err != nil {
			return nil, err
		}
		s := &socket{fd: fd}
		ps.kernelDrops.Add(s.newDrops())
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
		// Steering numbers the sockets in the order in which they are bound: that
		// of the sources.
		fd, err := socketOf.Open(at)
		if err != nil {
			for _, s := range p.sockets {
				ps.kernelDrops.Add(s.newDrops())
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

// probe binds a port exclusively, with a socket that accepts nothing.
func probe(at netip.AddrPort, v6only bool) (fd int, err error) {
	return udp.Socket{V6Only: v6only, Prepare: func(fd int) error {
		shut(fd) // if it fails, the socket may accept a few datagrams
		return nil
	}}.Open(at)
}

// portChanges are the results of a reconciliation, each logged on one line.
type portChanges struct {
	failed, regained []netip.AddrPort
	why              error
}

func (c portChanges) log(log *slog.Logger) {
	if c.failed != nil {
		slices.SortFunc(c.failed, netip.AddrPort.Compare)
		log.Warn("failed to open knock ports; retrying every second", "listen", c.failed, "error", c.why)
	}
	if c.regained != nil {
		slices.SortFunc(c.regained, netip.AddrPort.Compare)
		log.Info("knock ports opened on retry", "listen", c.regained)
	}
}

package ingest

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// port is a knock port that is open at one address. Its readers load its places
// through the pointer, which is replaced as a whole when the minute turns.
type port struct {
	places  atomic.Pointer[[]schedule.Place]
	link    uint32    // the interface to which a link-local address is bound; 0: none
	sockets []*socket // one for each source
}

// portSet is the set of open ports at all addresses. It belongs to the rotation
// goroutine, except for its counts.
type portSet struct {
	addresses udp.Addresses
	sources   []*socketSource
	setup     *setup
	filter    *socketFilter
	log       *slog.Logger
	open      map[netip.AddrPort]*port
	failed    map[netip.AddrPort]error // ports that could not be opened; already logged
	unopened  map[netip.AddrPort]error // the same of ports for a trace, which are not logged

	openCount   atomic.Int64 // without those for a trace
	failedCount atomic.Int64 // the length of failed
	tracedCount atomic.Int64 // open for a trace only
	lostCount   atomic.Int64 // the length of unopened
	failures    atomic.Uint64
	kernelDrops atomic.Uint64 // drops by the kernel at sockets that are open
}

func newPortSet(
	addresses udp.Addresses, sources []*socketSource, setup *setup, unfiltered bool, log *slog.Logger,
) *portSet {
	ps := &portSet{
		addresses: addresses, sources: sources, setup: setup, log: log,
		open: map[netip.AddrPort]*port{}, failed: map[netip.AddrPort]error{}, unopened: map[netip.AddrPort]error{},
	}
	ps.filter = &socketFilter{
		disabled: unfiltered, sockets: len(addresses) * len(sources), ports: ps.open, log: newOnceLog(log),
	}
	return ps
}

// reconcile opens the ports of the wider table, closes all others, and puts the
// table in force: its ports get the table's places, all other ports none. A port
// that cannot be opened does not block the others: it is logged once, counted
// each time, and tried again at the next call. The ports traced, which are not in the wider
// table, are open too; of these, it only counts how many cannot be opened.
func (ps *portSet) reconcile(table, wider prefilter.Table, traced map[uint16]bool) {
	ps.filter.drops.begin()
	// Close first, and wait for it: the same port may be opened again.
	ps.close(wider, traced, ps.links())
	for at, p := range ps.open {
		if places := table.Ports[at.Port()]; !slices.Equal(*p.places.Load(), places) {
			p.places.Store(&places)
		}
	}
	ps.filter.Set(table)
	var opened portChanges
	for number := range wider.Ports {
		for _, a := range ps.addresses {
			ps.ensureOpen(netip.AddrPortFrom(a, number), table.Ports[number], &opened)
		}
	}
	opened.log(ps.log)
	ps.openTraced(traced)
	for _, p := range ps.open {
		for _, s := range p.sockets {
			ps.kernelDrops.Add(s.newDrops())
		}
	}
	ps.openCount.Store(int64(len(ps.open)) - ps.tracedCount.Load())
	ps.failedCount.Store(int64(len(ps.failed)))
	ps.filter.drops.end(ps.dropped(), ps.filter.disabled)
}

// dropped returns how many datagrams the kernel has dropped at all sockets, open
// and closed, as of the last reading.
func (ps *portSet) dropped() uint64 {
	n := ps.kernelDrops.Load()
	for _, src := range ps.sources {
		n += src.drops.Load()
	}
	return n
}

// links returns the interfaces that the zones of the addresses name now.
func (ps *portSet) links() map[netip.Addr]uint32 {
	links := map[netip.Addr]uint32{}
	for _, a := range ps.addresses {
		if link, err := udp.Link(a); err == nil && link != 0 {
			links[a] = link
		}
	}
	return links
}

// close closes the ports that are not in a table, and those whose interface was
// replaced by another one of the same name: nothing arrives there. When it
// returns, the datagrams in their queues have been read.
func (ps *portSet) close(wider prefilter.Table, traced map[uint16]bool, links map[netip.Addr]uint32) {
	var closed sync.WaitGroup
	for at, p := range ps.open {
		link, known := links[at.Addr()]
		if _, ok := wider.Ports[at.Port()]; !ok && !traced[at.Port()] || known && link != p.link {
			for _, s := range p.sockets {
				ps.kernelDrops.Add(s.newDrops())
				s.source.remove(s, &closed)
			}
			delete(ps.open, at)
		}
	}
	closed.Wait()
	for at := range ps.failed {
		if _, ok := wider.Ports[at.Port()]; !ok {
			delete(ps.failed, at)
		}
	}
}

// heldByUs reports whether a port is open at one address or more, and no other
// program has it at any of the addresses.
func (ps *portSet) heldByUs(number uint16) bool {
	open := false
	for _, a := range ps.addresses {
		at := netip.AddrPortFrom(a, number)
		if errors.Is(ps.failed[at], syscall.EADDRINUSE) || errors.Is(ps.unopened[at], syscall.EADDRINUSE) {
			return false
		}
		open = open || ps.open[at] != nil
	}
	return open
}

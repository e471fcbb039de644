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

// port is a knock port that is open at one address. Its readers see its
// places through the pointer, which is replaced whole when the minute turns.
type port struct {
	places  atomic.Pointer[[]schedule.Place]
	sockets []*socket // one of each source
}

// portSet is which ports are open, at which addresses. It belongs to the
// rotation goroutine, except for its counts.
type portSet struct {
	addresses udp.Addresses
	sources   []*sockets
	setup     *setup
	filter    *socketFilter
	log       *slog.Logger
	open      map[netip.AddrPort]*port
	failed    map[netip.AddrPort]error // to be open, but not to be had; already logged

	openCount atomic.Int64
	failures  atomic.Uint64
	kernel    atomic.Uint64 // drops by the kernel at sockets that are open
}

func newPortSet(addresses udp.Addresses, sources []*sockets, setup *setup, unfiltered bool, log *slog.Logger) *portSet {
	ps := &portSet{
		addresses: addresses, sources: sources, setup: setup, log: log,
		open: map[netip.AddrPort]*port{}, failed: map[netip.AddrPort]error{},
	}
	ps.filter = &socketFilter{off: unfiltered, sockets: len(addresses) * len(sources), ports: ps.open, log: newOnceLog(log)}
	return ps
}

// reconcile opens the ports of the wider table that are not open, closes what
// is not in it, and holds what comes to the table: its ports have the table's
// places, all others none. A port that cannot be opened does not block the
// others: it is logged once, counted each time, and tried again at the next
// call.
func (ps *portSet) reconcile(table, wider prefilter.Table) {
	ps.filter.drops.begin()
	// Closed before any is opened: a port may be wanted again at once.
	ps.close(wider)
	for at, p := range ps.open {
		if places := table.Ports[at.Port()]; !slices.Equal(*p.places.Load(), places) {
			p.places.Store(&places)
		}
	}
	ps.filter.Set(table)
	var opened changes
	for number := range wider.Ports {
		for _, a := range ps.addresses {
			ps.ensureOpen(netip.AddrPortFrom(a, number), table.Ports[number], &opened)
		}
	}
	opened.log(ps.log)
	for _, p := range ps.open {
		for _, s := range p.sockets {
			ps.kernel.Add(s.newDrops())
		}
	}
	ps.openCount.Store(int64(len(ps.open)))
	ps.filter.drops.end(ps.dropped(), ps.filter.off)
}

// dropped is how many datagrams the kernel has dropped at the sockets, open or
// closed, as far as it has been asked.
func (ps *portSet) dropped() uint64 {
	n := ps.kernel.Load()
	for _, src := range ps.sources {
		n += src.drops.Load()
	}
	return n
}

// close closes the ports that are not in a table. When it returns, what they
// held has been read.
func (ps *portSet) close(wider prefilter.Table) {
	var closed sync.WaitGroup
	for at, p := range ps.open {
		if _, ok := wider.Ports[at.Port()]; !ok {
			for _, s := range p.sockets {
				ps.kernel.Add(s.newDrops())
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

// ours reports whether a port is open, at one address at least, and at none of
// them another program's.
func (ps *portSet) ours(number uint16) bool {
	open := false
	for _, a := range ps.addresses {
		at := netip.AddrPortFrom(a, number)
		if errors.Is(ps.failed[at], syscall.EADDRINUSE) {
			return false
		}
		open = open || ps.open[at] != nil
	}
	return open
}

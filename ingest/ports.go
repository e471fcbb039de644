package ingest

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"sallyport/verify"
	"sallyport/verify/schedule"
)

// port is a knock port that is open at one address. Its readers see its
// places through the pointer, which is replaced whole when the minute turns.
type port struct {
	places   atomic.Pointer[[]schedule.Place]
	sockets  []*socket
	filtered uint64 // the generation of rules that the kernel holds its datagrams to
}

// socket is one of a port's sockets, one a reader. Once added to its reader
// it belongs to that reader.
type socket struct {
	fd     int
	port   *port
	reader *reader
	drops  uint32 // by the kernel, when they were counted last
}

// newDrops counts what the kernel has dropped since the last call. Only the
// rotation may call it, and only the reader once it was told to remove it.
func (s *socket) newDrops() uint64 {
	drops, err := kernelDrops(s.fd)
	if err != nil {
		return 0
	}
	n := drops - s.drops // modulo 2^32, as the kernel counts
	s.drops = drops
	return uint64(n)
}

// sharing says whether a socket lets others bind the same address.
type sharing bool

const (
	alone  sharing = false
	shared sharing = true
)

// portSet is which ports are open, at which addresses. It belongs to the
// rotation goroutine, except for its counts.
type portSet struct {
	addresses []netip.Addr
	readers   []*reader
	setup     *setup
	log       *slog.Logger
	open      map[netip.AddrPort]*port
	failed    map[netip.AddrPort]error // wanted, but not to be had; already logged

	openCount atomic.Int64
	failures  atomic.Uint64
	kernel    atomic.Uint64 // drops by the kernel at sockets that are open
}

func newPortSet(addresses []netip.Addr, readers []*reader, setup *setup, log *slog.Logger) *portSet {
	return &portSet{
		addresses: addresses, readers: readers, setup: setup, log: log,
		open: map[netip.AddrPort]*port{}, failed: map[netip.AddrPort]error{},
	}
}

// reconcile opens what is wanted and not open, gives open ports their places,
// and closes what is no longer wanted. What cannot be opened stands in
// nobody's way: it is logged once, counted each time, and tried again at the
// next call.
func (ps *portSet) reconcile(wanted map[uint16][]schedule.Place, rules verify.Rules) {
	ps.setup.use(rules)
	// Closed before any is opened: a port may be wanted again at once.
	var closed sync.WaitGroup
	for at, p := range ps.open {
		if _, ok := wanted[at.Port()]; !ok {
			for _, s := range p.sockets {
				ps.kernel.Add(s.newDrops())
				s.reader.remove(s, &closed)
			}
			delete(ps.open, at)
		}
	}
	closed.Wait()
	for at := range ps.failed {
		if _, ok := wanted[at.Port()]; !ok {
			delete(ps.failed, at)
		}
	}
	var news changes
	for number, places := range wanted {
		for _, a := range ps.addresses {
			ps.want(netip.AddrPortFrom(a, number), places, &news)
		}
	}
	news.log(ps.log)
	ps.countDrops()
	ps.openCount.Store(int64(len(ps.open)))
}

// own returns the ports that are open, each with the last minute for which it
// is drawn. A port that somebody else has at one of the addresses is not ours.
func (ps *portSet) own() map[uint16]schedule.Minute {
	ports := make(map[uint16]schedule.Minute, len(ps.open))
	for at, p := range ps.open {
		places := *p.places.Load()
		ports[at.Port()] = places[len(places)-1].Minute
	}
	for at, err := range ps.failed {
		if errors.Is(err, syscall.EADDRINUSE) {
			delete(ports, at.Port())
		}
	}
	return ports
}

// countDrops asks the kernel.
func (ps *portSet) countDrops() {
	for _, p := range ps.open {
		for _, s := range p.sockets {
			ps.kernel.Add(s.newDrops())
		}
	}
}

// want sees to it that a port is open, and that it and the kernel know its
// places.
func (ps *portSet) want(at netip.AddrPort, places []schedule.Place, news *changes) {
	if p, ok := ps.open[at]; ok {
		if !slices.Equal(*p.places.Load(), places) {
			p.places.Store(&places)
			p.filtered = 0
		}
		if p.filtered != ps.setup.generation {
			filter := ps.setup.filterOf(places)
			for _, s := range p.sockets {
				filter.attach(s.fd)
			}
			p.filtered = ps.setup.generation
		}
		return
	}
	p, err := ps.openPort(at, places)
	if err != nil {
		ps.failures.Add(1)
		if ps.failed[at] == nil {
			ps.failed[at] = err
			news.lost, news.why = append(news.lost, at), err
		}
		return
	}
	ps.open[at] = p
	if ps.failed[at] != nil {
		delete(ps.failed, at)
		news.regained = append(news.regained, at)
	}
}

// openPort opens the sockets of all readers at a port, or none.
func (ps *portSet) openPort(at netip.AddrPort, places []schedule.Place) (*port, error) {
	p := &port{filtered: ps.setup.generation}
	p.places.Store(&places)
	v6only := slices.ContainsFunc(ps.addresses, netip.Addr.Is4)
	// The kernel finds a socket of its own a tenth faster than one of a group.
	share := alone
	if len(ps.readers) > 1 {
		share = shared
		// Programs of the same user may share a port that allows it, and would
		// then take each other's datagrams: a second server would, unnoticed.
		// A socket that does not share finds out.
		probe, err := openSocket(at, v6only, alone, shut)
		if err != nil {
			return nil, err
		}
		ps.kernel.Add((&socket{fd: probe}).newDrops())
		closeSockets([]*socket{{fd: probe}})
	}
	filter := ps.setup.filterOf(places)
	for i, r := range ps.readers {
		// Bound in the order of the readers, which is how steering counts them.
		fd, err := openSocket(at, v6only, share, func(fd int) error { return ps.setup.prepare(fd, i, filter) })
		if err != nil {
			for _, s := range p.sockets {
				ps.kernel.Add(s.newDrops())
			}
			closeSockets(p.sockets)
			return nil, err
		}
		p.sockets = append(p.sockets, &socket{fd: fd, port: p, reader: r})
	}
	for i, s := range p.sockets {
		if err := s.reader.add(s); err != nil {
			var closed sync.WaitGroup
			for _, added := range p.sockets[:i] {
				added.reader.remove(added, &closed)
			}
			closeSockets(p.sockets[i:])
			closed.Wait()
			return nil, errors.Join(errors.New("watch the socket"), err)
		}
	}
	return p, nil
}

// changes are what one reconciliation has to tell, on a line each.
type changes struct {
	lost, regained []netip.AddrPort
	why            error
}

func (c changes) log(log *slog.Logger) {
	if c.lost != nil {
		slices.SortFunc(c.lost, netip.AddrPort.Compare)
		log.Warn("cannot open knock ports; trying again every second", "ports", c.lost, "error", c.why)
	}
	if c.regained != nil {
		slices.SortFunc(c.regained, netip.AddrPort.Compare)
		log.Info("opened knock ports after all", "ports", c.regained)
	}
}

package ingest

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"

	"sallyport/verify/schedule"
)

// port is an open knock port. Its readers see its places through the pointer,
// which is replaced whole when the minute turns.
type port struct {
	number  uint16
	places  atomic.Pointer[[]schedule.Place]
	sockets []*socket
}

// socket is one of a port's sockets, one a reader and address. Once added to
// its reader it belongs to that reader.
type socket struct {
	fd     int
	port   *port
	reader *reader
}

// sharing says whether a socket lets others bind the same address.
type sharing bool

const (
	alone  sharing = false
	shared sharing = true
)

// portSet is which ports are open. It belongs to the rotation goroutine,
// except for its two counts.
type portSet struct {
	addresses []netip.Addr
	readers   []*reader
	log       *slog.Logger
	open      map[uint16]*port
	failed    map[uint16]bool // wanted, but not to be had; already logged

	openCount atomic.Int64
	failures  atomic.Uint64
}

func newPortSet(addresses []netip.Addr, readers []*reader, log *slog.Logger) *portSet {
	return &portSet{
		addresses: addresses, readers: readers, log: log,
		open: map[uint16]*port{}, failed: map[uint16]bool{},
	}
}

// reconcile opens what is wanted and not open, gives open ports their places,
// and closes what is no longer wanted. A port that cannot be opened stands in
// nobody's way: it is logged once, counted each time, and tried again at the
// next call.
func (ps *portSet) reconcile(wanted map[uint16][]schedule.Place) {
	for number, p := range ps.open {
		if _, ok := wanted[number]; !ok {
			for _, s := range p.sockets {
				s.reader.remove(s)
			}
			delete(ps.open, number)
		}
	}
	for number := range ps.failed {
		if _, ok := wanted[number]; !ok {
			delete(ps.failed, number)
		}
	}
	var busy, regained []uint16
	var why error
	for number, places := range wanted {
		if p, ok := ps.open[number]; ok {
			if !slices.Equal(*p.places.Load(), places) {
				p.places.Store(&places)
			}
			continue
		}
		p, err := ps.openPort(number, places)
		if err != nil {
			ps.failures.Add(1)
			if !ps.failed[number] {
				ps.failed[number] = true
				busy, why = append(busy, number), err
			}
			continue
		}
		ps.open[number] = p
		if ps.failed[number] {
			delete(ps.failed, number)
			regained = append(regained, number)
		}
	}
	if busy != nil {
		slices.Sort(busy)
		ps.log.Warn("cannot open knock ports; trying again every second", "ports", busy, "error", why)
	}
	if regained != nil {
		slices.Sort(regained)
		ps.log.Info("opened knock ports after all", "ports", regained)
	}
	ps.openCount.Store(int64(len(ps.open)))
}

// openPort opens all sockets of a port, or none.
func (ps *portSet) openPort(number uint16, places []schedule.Place) (*port, error) {
	p := &port{number: number}
	p.places.Store(&places)
	hasIPv4 := slices.ContainsFunc(ps.addresses, netip.Addr.Is4)
	// Programs of the same user may share a port that allows it, and would
	// then take each other's datagrams: a second server would, unnoticed. A
	// socket that does not share finds out.
	for _, a := range ps.addresses {
		fd, err := openSocket(netip.AddrPortFrom(a, number), hasIPv4, alone)
		if err != nil {
			return nil, err
		}
		closeSockets([]*socket{{fd: fd}})
	}
	for _, r := range ps.readers {
		for _, a := range ps.addresses {
			fd, err := openSocket(netip.AddrPortFrom(a, number), hasIPv4, shared)
			if err != nil {
				closeSockets(p.sockets)
				return nil, err
			}
			p.sockets = append(p.sockets, &socket{fd: fd, port: p, reader: r})
		}
	}
	for i, s := range p.sockets {
		if err := s.reader.add(s); err != nil {
			for _, added := range p.sockets[:i] {
				added.reader.remove(added)
			}
			closeSockets(p.sockets[i:])
			return nil, errors.Join(errors.New("watch the socket"), err)
		}
	}
	return p, nil
}

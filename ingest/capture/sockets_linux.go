package capture

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/udp"
)

// socketSource receives packets with UDP sockets, one for each port and address.
type socketSource struct {
	cfg     Config
	counts  *counts
	waiter  *udp.Waiter
	sockets map[int]*socket // used by run; before it, by newSocketSource
	missing missing         // the same
	mu      sync.RWMutex    // guards byPort
	byPort  map[uint16][]*socket
	once    sync.Once
}

type socket struct {
	fd    int
	v6    bool
	port  uint16
	at    netip.Addr
	drops uint32
}

func newSocketSource(cfg Config, counts *counts) (_ source, err error) {
	if n := int(cfg.Last) - int(cfg.First) + 1; n > MaxBound {
		return nil, tooManyPortsError{
			fmt.Errorf("bind UDP ports %d to %d: got %d ports, expected at most %d", cfg.First, cfg.Last, n, MaxBound),
		}
	}
	b := &socketSource{cfg: cfg, counts: counts, sockets: map[int]*socket{}, byPort: map[uint16][]*socket{}}
	if b.waiter, err = udp.NewWaiter(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	addresses := udp.Addresses(cfg.Addresses).OnHost()
	b.missing = missing{v6only: addresses.V6Only()}
	for port := int(cfg.First); port <= int(cfg.Last); port++ {
		for _, a := range addresses {
			b.missing.ports = append(b.missing.ports, netip.AddrPortFrom(a, uint16(port)))
		}
	}
	return b, b.openMissing()
}

// tooManyPortsError is the error for a range of more than MaxBound ports.
type tooManyPortsError struct{ error }

func (e tooManyPortsError) Unwrap() error { return e.error }

// Hint returns what the administrator can do.
func (tooManyPortsError) Hint() string {
	return "choose a smaller range of ports, or capture = \"packet\", which requires CAP_NET_RAW"
}

// openFilesError is the error for a range of more ports than descriptors.
type openFilesError struct{ error }

func (e openFilesError) Unwrap() error { return e.error }

// Hint returns what the administrator can do.
func (openFilesError) Hint() string {
	return "raise the limit of open files (ulimit -n, LimitNOFILE=), or choose a smaller range of ports"
}

// lowPortError is the error for a port below 1024 without the privilege.
type lowPortError struct{ error }

func (e lowPortError) Unwrap() error { return e.error }

// Hint returns what the administrator can do.
func (lowPortError) Hint() string {
	return "start the server with CAP_NET_BIND_SERVICE, " +
		"or allow all processes to bind low ports: sysctl net.ipv4.ip_unprivileged_port_start"
}

func (b *socketSource) open(at netip.AddrPort, v6only bool) error {
	s := &socket{v6: at.Addr().Is6(), port: at.Port(), at: at.Addr()}
	prepare := func(fd int) error {
		level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
		if s.v6 {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		}
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return os.NewSyscallError("setsockopt PKTINFO", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_TIMESTAMPNS", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_RXQ_OVFL", err)
		}
		return prefilter.Attach(fd, emptyOnly())
	}
	var err error
	if s.fd, err = (udp.Socket{V6Only: v6only, Prepare: prepare}).Open(at); err == nil {
		if err = b.waiter.Add(s.fd); err != nil {
			unix.Close(s.fd)
		}
	}
	switch {
	case errors.Is(err, unix.EMFILE):
		return openFilesError{
			fmt.Errorf("bind UDP ports %d to %d: a file descriptor each: %w", b.cfg.First, b.cfg.Last, err),
		}
	case errors.Is(err, unix.EACCES):
		return lowPortError{fmt.Errorf("bind UDP port %d at %s: %w", at.Port(), at.Addr(), err)}
	case unavailable(err):
		return unavailableError{fmt.Errorf("bind UDP port %d at %s: %w", at.Port(), at.Addr(), err)}
	case err != nil:
		return fmt.Errorf("bind UDP port %d at %s: %w", at.Port(), at.Addr(), err)
	}
	b.sockets[s.fd] = s
	b.mu.Lock()
	b.byPort[s.port] = append(b.byPort[s.port], s)
	b.mu.Unlock()
	return nil
}

func (b *socketSource) run(ctx context.Context) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		b.waiter.Wake()
	})
	defer func() {
		if !stop() {
			<-woken // otherwise Wake could write to a closed descriptor
		}
	}()
	batch := newBatch()
	for {
		err := b.waiter.Wait(b.missing.pauseLeft())
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for packets: %w", err)
		}
		for fd, ok := b.waiter.Next(); ok; fd, ok = b.waiter.Next() {
			b.read(b.sockets[fd], batch)
		}
		if b.missing.due() {
			b.openMissing() // an error leaves the ports missing
		}
	}
}

// read delivers the packets in the queue of a socket. An error is ignored: it
// does not stop later datagrams.
func (b *socketSource) read(s *socket, batch *batch) {
	n, err := batch.receive(s.fd)
	if err != nil {
		return
	}
	packets := batch.packets[:0]
	for i := range n {
		to, drops := batch.destination(i)
		if drops != s.drops {
			b.counts.dropped.Add(uint64(drops - s.drops))
			s.drops = drops
		}
		from := batch.source(i)
		if from.Port() == 0 || !validPeer(from.Addr(), to.IsLoopback()) || to.IsMulticast() || !to.IsValid() {
			b.counts.refused.Add(1)
			continue
		}
		packets = append(packets, Packet{Source: from, Destination: netip.AddrPortFrom(to, s.port), Arrived: batch.arrived(i)})
	}
	b.counts.received.Add(uint64(n))
	if len(packets) > 0 {
		b.cfg.Sink.Take(packets)
	}
}

func (b *socketSource) answer(p Packet, payload []byte) error {
	from, to := p.Destination, p.Source
	b.mu.RLock()
	sockets := b.byPort[from.Port()]
	b.mu.RUnlock()
	for _, s := range sockets {
		switch v4 := to.Addr().Is4(); {
		case s.at != from.Addr() && !s.at.IsUnspecified():
		case s.v6 && v4 && s.at.IsUnspecified():
			// An IPv4 packet, received by a socket for both families.
			return send(s.fd, payload, netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port()), from.Addr())
		case s.v6 != v4:
			return send(s.fd, payload, to, from.Addr())
		}
	}
	return errors.New("no socket is bound to the packet's destination")
}

func (b *socketSource) close() {
	b.once.Do(func() {
		for _, s := range b.sockets {
			unix.Close(s.fd)
		}
		b.waiter.Close()
	})
}

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

// bound hears by UDP sockets, one a port and address.
type bound struct {
	cfg     Config
	counts  *counts
	waiter  *udp.Waiter
	sockets map[int]*socket
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

func bind(cfg Config, counts *counts) (_ medium, err error) {
	if n := int(cfg.Last) - int(cfg.First) + 1; n > MaxBound {
		return nil, fmt.Errorf("bind ports %d to %d: they are %d, where %d are the most; with CAP_NET_RAW they can be captured instead", cfg.First, cfg.Last, n, MaxBound)
	}
	b := &bound{cfg: cfg, counts: counts, sockets: map[int]*socket{}, byPort: map[uint16][]*socket{}}
	if b.waiter, err = udp.NewWaiter(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	addresses := udp.Addresses(cfg.Addresses)
	if len(addresses) == 0 {
		addresses = udp.Addresses{udp.AnyAddress()}
	}
	for port := int(cfg.First); port <= int(cfg.Last); port++ {
		for _, a := range addresses {
			if err := b.open(netip.AddrPortFrom(a, uint16(port)), addresses.V6Only()); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// lowPortError says what a port below 1024 takes.
type lowPortError struct{ error }

func (e lowPortError) Unwrap() error { return e.error }

// Hint says what to do about it.
func (lowPortError) Hint() string {
	return "start the server with CAP_NET_BIND_SERVICE, or let everybody bind such ports: sysctl net.ipv4.ip_unprivileged_port_start"
}

func (b *bound) open(at netip.AddrPort, v6only bool) error {
	s := &socket{v6: at.Addr().Is6(), port: at.Port(), at: at.Addr()}
	prepare := func(fd int) error {
		level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
		if s.v6 {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
		}
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return os.NewSyscallError("setsockopt PKTINFO", err)
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
		return fmt.Errorf("bind ports %d to %d: it takes a file descriptor each: raise the limit of open files (ulimit -n, LimitNOFILE=), or choose a smaller range: %w", b.cfg.First, b.cfg.Last, err)
	case errors.Is(err, unix.EACCES):
		return lowPortError{fmt.Errorf("bind UDP port %d at %s: %w", at.Port(), at.Addr(), err)}
	case err != nil:
		return fmt.Errorf("bind UDP port %d at %s: %w", at.Port(), at.Addr(), err)
	}
	b.sockets[s.fd] = s
	b.byPort[s.port] = append(b.byPort[s.port], s)
	return nil
}

func (b *bound) run(ctx context.Context) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		b.waiter.Wake()
	})
	defer func() {
		if !stop() {
			<-woken // or it would write to a descriptor that is closed
		}
	}()
	batch := newBatch()
	for {
		err := b.waiter.Wait(-1)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hear packets: %w", err)
		}
		for fd, ok := b.waiter.Next(); ok; fd, ok = b.waiter.Next() {
			b.read(b.sockets[fd], batch)
		}
	}
}

// read hands on what waits at a socket. An error is of no concern: the next
// datagram comes all the same.
func (b *bound) read(s *socket, batch *batch) {
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
		if from.Port() == 0 || !possible(from.Addr(), to.IsLoopback()) || to.IsMulticast() || !to.IsValid() {
			b.counts.refused.Add(1)
			continue
		}
		packets = append(packets, Packet{from, netip.AddrPortFrom(to, s.port)})
	}
	b.counts.received.Add(uint64(n))
	if len(packets) > 0 {
		b.cfg.Sink.Take(packets)
	}
}

func (b *bound) answer(p Packet, payload []byte) error {
	from, to := p.Destination, p.Source
	for _, s := range b.byPort[from.Port()] {
		switch v4 := to.Addr().Is4(); {
		case s.at != from.Addr() && !s.at.IsUnspecified():
		case s.v6 && v4 && s.at.IsUnspecified():
			// An IPv4 packet of a socket for both families.
			return send(s.fd, payload, netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port()), from.Addr())
		case s.v6 != v4:
			return send(s.fd, payload, to, from.Addr())
		}
	}
	return errors.New("no socket of ours has the port")
}

func (b *bound) close() {
	b.once.Do(func() {
		for _, s := range b.sockets {
			unix.Close(s.fd)
		}
		b.waiter.Close()
	})
}

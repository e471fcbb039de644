package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// bound hears by UDP sockets, one a port and address.
type bound struct {
	cfg     Config
	counts  *counts
	epoll   int
	wake    int
	sockets map[int32]*socket
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
	b := &bound{cfg: cfg, counts: counts, epoll: -1, wake: -1, sockets: map[int32]*socket{}, byPort: map[uint16][]*socket{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if b.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := b.watch(b.wake); err != nil {
		return nil, err
	}
	addresses := cfg.Addresses
	if len(addresses) == 0 {
		addresses = []netip.Addr{anyAddress()}
	}
	only6 := false // an unspecified IPv6 address takes IPv4, too, unless it has its own
	for _, a := range addresses {
		only6 = only6 || a.Is4()
	}
	for port := int(cfg.First); port <= int(cfg.Last); port++ {
		for _, a := range addresses {
			if err := b.open(netip.AddrPortFrom(a, uint16(port)), only6); err != nil {
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

// anyAddress stands for all of the host's, of both families if it has them.
func anyAddress() netip.Addr {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	unix.Close(fd)
	return netip.IPv6Unspecified()
}

func (b *bound) watch(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &event))
}

func (b *bound) open(at netip.AddrPort, only6 bool) error {
	s := &socket{v6: at.Addr().Is6(), port: at.Port(), at: at.Addr()}
	family, name := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(at.Port())})
	if s.v6 {
		family, name = unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16(), ZoneId: zone(at.Addr())}
	} else {
		name.(*unix.SockaddrInet4).Addr = at.Addr().As4()
	}
	var err error
	s.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("bind ports %d to %d: it takes a file descriptor each: raise the limit of open files (ulimit -n, LimitNOFILE=), or choose a smaller range: %w", b.cfg.First, b.cfg.Last, err)
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	set := func(level, option, value int) {
		if err == nil {
			err = unix.SetsockoptInt(s.fd, level, option, value)
		}
	}
	set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	if s.v6 {
		v6only := 0
		if only6 {
			v6only = 1
		}
		set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	} else {
		set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err == nil {
		err = attach(s.fd, assemble(emptyOnly()))
	}
	if err == nil {
		err = unix.Bind(s.fd, name)
	}
	if err == nil {
		err = b.watch(s.fd)
	}
	if err != nil {
		unix.Close(s.fd)
		err = fmt.Errorf("bind UDP port %d at %s: %w", at.Port(), at.Addr(), err)
		if errors.Is(err, unix.EACCES) {
			return lowPortError{err}
		}
		return err
	}
	b.sockets[int32(s.fd)] = s
	b.byPort[s.port] = append(b.byPort[s.port], s)
	return nil
}

func (b *bound) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.Write(b.wake, one[:])
	})
	defer stop()
	batch := newBatch()
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(b.epoll, events, -1)
		if ctx.Err() != nil {
			return nil
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("hear packets: %w", os.NewSyscallError("epoll_wait", err))
		}
		for _, e := range events[:n] {
			if s := b.sockets[e.Fd]; s != nil {
				b.read(s, batch)
			}
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
	knocks := batch.knocks[:0]
	for i := range n {
		to, drops := batch.told(i)
		if drops != s.drops {
			b.counts.dropped.Add(uint64(drops - s.drops))
			s.drops = drops
		}
		from := batch.source(i)
		if from.Port() == 0 || !possible(from.Addr(), to.IsLoopback()) || to.IsMulticast() || !to.IsValid() {
			b.counts.refused.Add(1)
			continue
		}
		knocks = append(knocks, Knock{from, netip.AddrPortFrom(to, s.port)})
	}
	b.counts.received.Add(uint64(n))
	if len(knocks) > 0 {
		b.cfg.Sink.Take(knocks)
	}
}

func (b *bound) answer(k Knock, payload []byte) error {
	from, to := k.Destination, k.Source
	for _, s := range b.byPort[from.Port()] {
		switch {
		case s.at != from.Addr() && !s.at.IsUnspecified():
		case !s.v6 && to.Addr().Is4():
			return send(s.fd, payload, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, from.Addr())
		case s.v6 && to.Addr().Is6():
			return send(s.fd, payload, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16(), ZoneId: zone(to.Addr())}, from.Addr())
		case s.v6 && s.at.IsUnspecified():
			// An IPv4 packet of a socket for both families.
			return send(s.fd, payload, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}, from.Addr())
		}
	}
	return errors.New("no socket of ours has the port")
}

func (b *bound) close() {
	b.once.Do(func() {
		for _, s := range b.sockets {
			unix.Close(s.fd)
		}
		for _, fd := range []int{b.wake, b.epoll} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	})
}

package prove

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/verify"
	"sallyport/verify/preamble"
	"sallyport/verify/wire"
)

const (
	// defaultTimeout is in which time a connection must have sent its proof: twice the
	// first retransmission of TCP, and a round trip.
	defaultTimeout = 3 * time.Second
	// defaultPending is how many connections may have no proof at a time.
	defaultPending = 1024
	// defaultShare is how many of them an address may have.
	defaultShare = 64
	// acceptPause is the pause after a failed accept, such as for too many open files.
	acceptPause = 50 * time.Millisecond
)

// Leases reports whether a client has a lease in force that admits an address.
type Leases func(client wire.Identifier, from netip.Addr) bool

// Target is a listener of the service. Its methods may be called concurrently.
type Target interface {
	// Try reports whether a lease lets an address try to connect, and for whose share it
	// counts: a host of IPv6 has a whole network of addresses. It must not allocate.
	Try(from netip.Addr) (peer netip.Prefix, ok bool)
	// Own makes a connection that of a client, with all limits and revocations that apply
	// to it. If the Outcome is not Passed, it has ended the connection.
	Own(c *net.TCPConn, client wire.Identifier) (net.Conn, Outcome)
	// Refuse resets a connection that Own has returned.
	Refuse(net.Conn)
	// Pass passes a connection that Own has returned to the service. It reports whether
	// the connection still exists. It must not block.
	Pass(net.Conn) bool
}

// Config configures New. All fields except those with a default are required.
type Config struct {
	Service   string // its name
	Authority *Authority
	Pending   int           // how many connections may have no proof at a time; 0: 1024
	Share     int           // how many of them a peer, as of Target.Try, may have; 0: 64
	Timeout   time.Duration // in which the proof must come; 0: 3 s
	Wall      func() time.Time
}

// Prover lets the connections of one service prove themselves. Its methods may be called
// concurrently.
type Prover struct {
	cfg    Config
	leases atomic.Pointer[Leases]

	mu       sync.Mutex
	table    table // made with the first listener
	verifier *verify.Connections
	poll     *poll // nil: run does not run
	serving  int   // listeners
	results  []result
	spare    []result
	message  [preamble.AnswerSize]byte
}

// New returns a Prover, which refuses every preamble before SetLeases.
func New(cfg Config) (*Prover, error) {
	v, err := verify.NewConnections(cfg.Service)
	if err != nil {
		return nil, err
	}
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&cfg.Pending, defaultPending)
	set(&cfg.Share, defaultShare)
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	return &Prover{cfg: cfg, verifier: v}, nil
}

// SetLeases sets the leases of the service.
func (p *Prover) SetLeases(l Leases) { p.leases.Store(&l) }

func (p *Prover) hasLease(client wire.Identifier, from netip.Addr) bool {
	l := p.leases.Load()
	return l != nil && (*l)(client, from)
}

// Serve makes a goroutine accept connections until stop is called, which the caller must
// do when it closes the listener. Then the connections that have no proof yet are reset.
// Each listener must have its own Target.
func (p *Prover) Serve(l net.Listener, t Target) (stop func(), err error) {
	socket, ok := l.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("accept connections that prove themselves: got a listener without a socket, a %T", l)
	}
	a, err := newAcceptor(socket)
	if err != nil {
		return nil, err
	}
	if err := p.begin(); err != nil {
		a.file.Close()
		return nil, err
	}
	go func() {
		defer p.end(t)
		p.accept(a, t)
	}()
	return func() { a.file.Close() }, nil
}

func (p *Prover) accept(a *acceptor, t Target) {
	for {
		fd, from, err := a.accept()
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			time.Sleep(acceptPause)
			continue
		}
		peer, ok := t.Try(from)
		if !ok {
			p.cfg.Authority.count(NotAdmitted)
			reset(fd)
			continue
		}
		p.add(fd, from, peer, t)
	}
}

// Add lets a connection prove itself that came another way than to a listener, as if it
// came from an address. The peer is as of Target.Try. The connection belongs to the
// Prover, unless Add returns an error.
func (p *Prover) Add(c *net.TCPConn, from netip.Addr, peer netip.Prefix, t Target) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	failed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(failed, os.NewSyscallError("fcntl", err)); err != nil {
		return err
	}
	if err := p.begin(); err != nil {
		unix.Close(fd)
		return err
	}
	c.Close() // fd keeps the connection open
	p.add(fd, from, peer, t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serving-- // run ends after the last connection
	p.poll.wake()
	return nil
}

// begin makes run run, for a listener.
func (p *Prover) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.table.slots == nil {
		p.table = newTable(p.cfg.Pending, p.cfg.Share)
	}
	if p.poll == nil {
		q, err := newPoll()
		if err != nil {
			return err
		}
		p.poll = q
		go p.run(q)
	}
	p.serving++
	return nil
}

// end is the end of a listener.
func (p *Prover) end(t Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.table.slots {
		if s := &p.table.slots[i]; s.stage != free && s.target == t {
			p.drop(s, Revoked)
		}
	}
	p.serving--
	p.poll.wake()
}

// add adds a connection to the table. Its preamble has often come with it: then run has
// nothing to wait for before the answer.
func (p *Prover) add(fd int, from netip.Addr, peer netip.Prefix, t Target) {
	p.lockWithRoom(peer)
	end := time.Now().Add(p.cfg.Timeout)
	r := p.table.put(fd, from, peer, t, end)
	if p.table.used == 1 {
		p.poll.setDeadline(end)
	}
	p.mu.Unlock()
	p.read(r)
	p.mu.Lock()
	if s := p.table.get(r); s != nil && s.stage == waiting {
		p.watch(s, r)
	}
	p.mu.Unlock()
}

// lockWithRoom takes the lock, and makes room for a connection of a peer. No connection
// gives way whose next message has come, and has not been read: in a flood, run may be
// late.
func (p *Prover) lockWithRoom(peer netip.Prefix) {
	p.mu.Lock()
	for {
		r, full := p.table.victim(peer)
		if !full {
			return
		}
		before := p.table.get(r).stage
		p.mu.Unlock()
		p.read(r)
		p.mu.Lock()
		if s := p.table.get(r); s != nil && s.stage == before {
			p.drop(s, Displaced)
		}
	}
}

// drop resets a connection. The caller holds the lock.
func (p *Prover) drop(s *slot, o Outcome) {
	fd := s.fd
	p.table.remove(s)
	p.cfg.Authority.count(o)
	reset(fd)
}

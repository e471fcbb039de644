package web

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Defaults of a DNSConfig.
const (
	DefaultAmplification = 3
	DefaultAnswers       = 1000
	DefaultConnections   = 64
)

const (
	maxQuery    = 4096            // bytes of a query; longer ones are Ignored, or end their connection
	maxQueries  = 128             // of one connection
	messageTime = 5 * time.Second // for one message over TCP, in either direction
	errorPause  = 50 * time.Millisecond
)

// DNSConfig configures a DNS. Zone and Exchanges are required, and sockets or listeners.
type DNSConfig struct {
	Zone      Zone
	Exchanges Exchanges
	// Sockets and Listeners are those on which it answers. It closes them.
	Sockets   []*net.UDPConn
	Listeners []net.Listener
	Readers   int // goroutines for each socket; 0: one
	// Amplification is how many times as long as its query an answer over UDP may be;
	// 0: DefaultAmplification.
	Amplification int
	// Answers is how many answers a second strangers get over UDP, and how many have a
	// challenge; as many over TCP; 0: DefaultAnswers.
	Answers     int
	Connections int              // over TCP, at a time; 0: DefaultConnections
	Now         func() time.Time // nil: time.Now
}

// DNS answers the queries for a zone, and hands the messages that they carry to
// Exchanges.
type DNS struct {
	config      DNSConfig
	responder   responder
	connections *connections
	readers     []*batch
}

// NewDNS makes a DNS, which answers when it runs.
func NewDNS(c DNSConfig) (*DNS, error) {
	for _, number := range []struct {
		value    *int
		fallback int
		name     string
	}{
		{&c.Readers, 1, "readers"},
		{&c.Amplification, DefaultAmplification, "amplification"},
		{&c.Answers, DefaultAnswers, "answers a second"},
		{&c.Connections, DefaultConnections, "connections"},
	} {
		if *number.value == 0 {
			*number.value = number.fallback
		}
		if *number.value < 1 {
			return nil, fmt.Errorf("%s: expected at least 1, got %d", number.name, *number.value)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	z, err := c.Zone.parse()
	if err != nil {
		return nil, err
	}
	for _, s := range c.Sockets {
		if err := receiveDestinations(s); err != nil {
			return nil, fmt.Errorf("socket at %s: %w", s.LocalAddr(), err)
		}
		if err := setReceiveBuffer(s); err != nil {
			return nil, fmt.Errorf("socket at %s: queue: %w", s.LocalAddr(), err)
		}
	}
	d := &DNS{
		config: c,
		responder: responder{
			zone: z, amplification: c.Amplification,
			udp: newBudgets(c.Answers), tcp: newBudgets(c.Answers),
			slips: newBudget(slipFactor * c.Answers), slipShares: newShares(sourceSlips),
		},
		connections: newConnections(c.Connections),
	}
	d.responder.receiver.init(c.Exchanges, assembliesDNS)
	for _, s := range c.Sockets {
		for range c.Readers {
			b, err := newBatch(s)
			if err != nil {
				return nil, fmt.Errorf("socket at %s: %w", s.LocalAddr(), err)
			}
			d.readers = append(d.readers, b)
		}
	}
	return d, nil
}

// Run answers until the context ends. Then it closes the sockets, listeners and
// connections, and returns when no goroutine is left.
func (d *DNS) Run(ctx context.Context) {
	var tasks sync.WaitGroup
	for _, b := range d.readers {
		tasks.Go(func() { d.receive(ctx, b) })
	}
	for _, l := range d.config.Listeners {
		tasks.Go(func() { d.accept(ctx, l, &tasks) })
	}
	<-ctx.Done()
	for _, s := range d.config.Sockets {
		s.Close()
	}
	for _, l := range d.config.Listeners {
		l.Close()
	}
	d.connections.closeAll()
	tasks.Wait()
}

// receive answers the queries of a socket.
func (d *DNS) receive(ctx context.Context, b *batch) {
	var memory scratch
	for {
		n, err := b.receive()
		if err != nil {
			if !pause(ctx, err) {
				return
			}
			continue
		}
		now := d.config.Now()
		for i := range n {
			memory.source = b.source(i)
			out := d.responder.answer(&memory, b.room(), b.query(i), false, now)
			if len(out) > 0 {
				b.answer(i, out)
			}
		}
		b.send()
	}
}

// pause waits after an error of a socket, and reports whether to go on.
func pause(ctx context.Context, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(errorPause):
		return true
	}
}

// accept answers the queries of a listener's connections.
func (d *DNS) accept(ctx context.Context, l net.Listener, tasks *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if err != nil {
			if !pause(ctx, err) {
				return
			}
			continue
		}
		if !d.connections.add(c, false) {
			return
		}
		tasks.Go(func() {
			d.serve(c)
			d.connections.remove(c)
		})
	}
}

// serve answers the queries of a connection, until it is silent for too long or breaks
// a rule (RFC 7766).
func (d *DNS) serve(c net.Conn) {
	var message [maxQuery]byte
	var memory scratch
	var out []byte
	for range maxQueries {
		c.SetReadDeadline(time.Now().Add(messageTime))
		if _, err := io.ReadFull(c, message[:2]); err != nil {
			return
		}
		size := binary.BigEndian.Uint16(message[:])
		if size > maxQuery {
			return
		}
		if _, err := io.ReadFull(c, message[:size]); err != nil {
			return
		}
		d.connections.touch(c, 0)
		out = d.responder.answer(&memory, append(out[:0], 0, 0), message[:size], true, d.config.Now())
		if len(out) == 2 {
			return
		}
		binary.BigEndian.PutUint16(out, uint16(len(out)-2))
		c.SetWriteDeadline(time.Now().Add(messageTime))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// DNSStats are totals since the start, except for Open.
type DNSStats struct {
	Outcomes [NumOutcomes]uint64 // queries, by what happened to them
	Parts    []uint64            // labels below the zone, by carrier.Reason
	Open     int                 // connections
	Replaced uint64              // connections that gave way to others
}

// Stats returns the counters. It is safe for concurrent use.
func (d *DNS) Stats() (st DNSStats) {
	for i := range d.responder.outcomes {
		st.Outcomes[i] = d.responder.outcomes[i].Load()
	}
	for i := range d.responder.parts {
		st.Parts = append(st.Parts, d.responder.parts[i].Load())
	}
	st.Open, st.Replaced = d.connections.counts()
	return st
}

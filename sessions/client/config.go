package client

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Defaults of a Config.
const (
	DefaultAttempts = 3
	DefaultTimeout  = 3 * time.Second
	// DefaultSequences is how many sequences Knock sends to an address, at most, in
	// DefaultAttempts to a service that it watches: one of them goes to the ports of the
	// previous minute, and one has nonces that go by the clock.
	DefaultSequences = DefaultAttempts + 2
)

// Config is the configuration of Knock. Profile, Nonces and Now are required.
type Config struct {
	Profile  Profile
	Service  string // to watch, in place of the profile's; empty: the profile's
	Nonces   NonceFile
	Attempts int           // the maximum number of attempts; 0: DefaultAttempts, if it watches
	Timeout  time.Duration // how long to wait for the service after each; 0: DefaultTimeout
	Family   Family
	NoWait   bool  // do not wait for the next minute's ports
	Keep     bool  // return the connection to the service
	Watch    Watch // how to watch; WatchDefault: as in the profile. Keep makes whole connections
	// CheckBefore: report whether the service was open before the knock. On systems
	// without half-open connections, this takes one more connection to it, and Knock
	// ignores it with Keep: one login is one connection.
	CheckBefore bool
	Now         func() time.Time
	Report      func(Event) // receives each step; may be nil
	// Else is for a network that drops the knocks: if the sequences open nothing, Knock makes
	// an exchange by HTTPS or DNS, as far as this profile has them. Knock sets Service, Keep,
	// Watch, Family, Timeout, Attempts, Now and Report of it. It may be nil.
	Else   *ExchangeConfig
	closes bool // the sequences close: see Close
}

func (c *Config) checksBefore() bool {
	return c.CheckBefore && !c.Keep || canHalfOpen
}

// validate returns an error if the configuration is not complete, and sets defaults.
func (c *Config) validate() error {
	watched := c.Profile
	if c.Service != "" {
		watched.Service = c.Service
	}
	bound := c.Profile.Bind.check(c.Profile.Service, c.Profile.ServiceName)
	if err := errors.Join(bound, watched.validate()); err != nil {
		return err
	}
	if c.Watch == WatchDefault {
		c.Watch = c.Profile.Watch
	}
	if !c.Watch.Valid() {
		return fmt.Errorf("expected a way to watch, got %q", c.Watch)
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	return nil
}

// Result is the result of Knock or Exchange.
type Result struct {
	Gateway  string         // its name, if the profile names several: a caller of Gateways.Try sets it
	Address  netip.Addr     // of the server, to which the packets went
	Service  netip.AddrPort // of the profile, at this address; invalid: the profile names none
	UDP      bool           // the service is a UDP service
	Watched  bool           // the service answered; false: the client only sent
	Attempts int            // how many were necessary
	Conn     *Conn          // to the service, with Keep; the caller closes it
	// SingleUse: the service accepts one connection, and the client has not tried
	// it. Only Exchange returns this, for a random port.
	SingleUse bool
	// OpenBefore: with CheckBefore, a connection that the client began before the
	// knock succeeded too. False: it did not, or the client does not know.
	OpenBefore bool
	// Rejected: there were ICMP errors for knocks of the last sequence.
	Rejected bool
	// Lost: in this many earlier attempts of Exchange, packets were lost on the way.
	Lost Lost
	// Also are other addresses at which the service stands open: Knock and Exchange without
	// Keep open it for both families.
	Also []netip.AddrPort
	// Carrier is what carried the messages of Exchange; empty: Knock has sent a sequence.
	Carrier Carrier
	// Tunnel is the connection to the service, in place of Conn, if it goes through the
	// web server; the caller closes it.
	Tunnel Stream
	// ByTunnel: with Probe, connections to the service go through the web server.
	ByTunnel bool
	// Untried are the carriers that were not tried, since nothing can confirm the packets:
	// where the network drops these, one of them may open the service.
	Untried []Carrier
	// NoncesBehind: the service opened after the nonces were moved ahead (see Moved).
	NoncesBehind bool
}

// abandon closes the connection of a result that the caller does not get.
func (r Result) abandon() {
	if r.Conn != nil {
		r.Conn.Close()
	}
	if r.Tunnel != nil {
		if s, ok := r.Tunnel.(interface{ SetLinger(int) error }); ok {
			s.SetLinger(0) // it carried nothing, so nothing waits for the peer
		}
		r.Tunnel.Close()
	}
}

// Event is a step of Knock (Resolved, Sent, Unanswered, Waiting) or of Exchange
// (Resolved, Requested, Answered, Unanswered).
type Event interface{ isEvent() }

// Resolved: the addresses of the server are known, in the order of the attempts.
type Resolved struct {
	Server    string
	Addresses []netip.Addr
}

// Sent: the client sent a sequence.
type Sent struct {
	Attempt int
	Of      int // the maximum number of attempts
	Address netip.Addr
	Packets []Packet
	Base    uint32 // the first nonce
	// Drawn are the ports at which the service may open, the likeliest first, if its
	// port rotates.
	Drawn []uint16
	// Previous: the ports are those of the previous minute.
	Previous bool
	// ByClock: the nonces go by the clock, since attempts have failed.
	ByClock bool
}

// Unanswered: an attempt failed.
type Unanswered struct {
	Attempt int
	Address netip.Addr     // of the server, to which the packets went
	Service netip.AddrPort // invalid: the client did not try to connect to it
	Err     error          // of the last attempt to connect, or to receive a challenge; may be nil
	Refused int            // the number of ICMP errors "port unreachable" for knocks
	Blocked int            // the number of other ICMP errors for knocks
}

// Waiting: the last attempt waits for the next minute's ports.
type Waiting struct{ For time.Duration }

// Moved: the service opened after the nonces were moved ahead. The server may have
// accepted those before from another device with the same profile.
type Moved struct {
	// Previous: the service opened after a sequence to the previous minute's ports. So
	// another program may hold a port of this minute.
	Previous bool
}

func (Moved) isEvent()      {}
func (Resolved) isEvent()   {}
func (Sent) isEvent()       {}
func (Unanswered) isEvent() {}
func (Waiting) isEvent()    {}

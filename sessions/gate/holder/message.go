package holder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// kind is the first byte of a request.
type kind uint8

const (
	kindChanges    kind = iota + 1 // a list of changes
	kindKnockPorts                 // open UDP ports for knocks for a time, from now
	kindExit                       // the server stops in order
	kindBegin                      // the first request: the server's
	kindReread                     // read the Schedule again
	kindCommit                     // apply the Schedule that was read, or discard it

	kindQuery       kind = 32 // a list of changes: query connections of their peers
	kindQueryResult kind = 33 // the result of that query
	kindDisconnect  kind = 34 // a list of changes: end the connections of their peers, even if other leases admit them

	kindShield       kind = 48 // load the shield for the server's addresses
	kindShieldResult kind = 49 // the arrays of that shield
	kindShieldState  kind = 50 // where the shield is attached

	kindTrial   kind = 64 // what is on trial
	kindConfirm kind = 65 // close what the record no longer has on trial

	kindSandbox kind = 72 // what is in force in the holder's process

	kindReload kind = 80 // read the configuration again: alone, instead of begin

	kindPing kind = 96 // a sign of life, and nothing else
)

// Version is the version of the messages. The first request and its reply have
// it in their second byte, in every version.
const Version = 7

const (
	// MaxChanges is the maximum number of changes, or ports, of a request.
	MaxChanges = 1024
	// changeSize is the size of a change: service, milliseconds from now (0:
	// revoke), family (4 or 6), bits of the prefix, flags, a zero byte,
	// address, initial sequence number (0: none), drawn port (0: the service's
	// own). A peer has no zone here, because the firewall has none.
	changeSize = 8 + 4 + 4 + 16 + 4 + 2
	portsHead  = 4 // milliseconds, before the ports of two bytes each
	maxRequest = 1 + MaxChanges*changeSize

	flagCut = 1
)

// request is a parsed request of the server.
type request struct {
	kind    kind
	changes []access.Change
	ports   []uint16
	lasts   time.Duration  // of the ports
	version byte           // of the server's messages; if it differs, nothing else is parsed
	digest  Digest         // of the server's configuration
	commit  bool           // apply the schedule that was read
	trial   *time.Duration // of what is hidden from then on; nil: none was asked for
	shield  ShieldRequest
}

// milliseconds returns a duration in the unit of requests.
func milliseconds(d time.Duration) (uint32, error) {
	ms := d.Milliseconds()
	if ms < 0 || ms > math.MaxUint32 {
		return 0, fmt.Errorf("expected a time from 0 to 49 days, got %s", d)
	}
	return uint32(ms), nil
}

// appendChanges appends a request. Times are relative in messages, because the
// other process has its own clocks. A lease with less than a millisecond left
// has ended.
func appendChanges(b []byte, changes []access.Change, now time.Time) ([]byte, error) {
	return appendList(append(b, byte(kindChanges)), changes, now)
}

func appendList(b []byte, changes []access.Change, now time.Time) ([]byte, error) {
	for _, c := range changes {
		var left uint32
		if !c.Revokes() {
			var err error
			if left, err = milliseconds(max(c.Until.Sub(now), 0)); err != nil {
				return b, err
			}
		}
		family, a := byte(6), c.Peer.Prefix.Addr()
		var address [16]byte
		if a.Is4() {
			family = 4
		}
		copy(address[:], a.AsSlice())
		var flags byte
		if c.Cut {
			flags = flagCut
		}
		b = append(b, c.Service[:]...)
		b = binary.BigEndian.AppendUint32(b, left)
		b = append(b, family, byte(c.Peer.Prefix.Bits()), flags, 0)
		b = append(b, address[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(c.Peer.ISN))
		b = binary.BigEndian.AppendUint16(b, c.Peer.Port)
	}
	return b, nil
}

func appendPorts(b []byte, ports []uint16, lasts time.Duration) ([]byte, error) {
	ms, err := milliseconds(lasts)
	if err != nil {
		return b, err
	}
	b = binary.BigEndian.AppendUint32(append(b, byte(kindKnockPorts)), ms)
	for _, p := range ports {
		b = binary.BigEndian.AppendUint16(b, p)
	}
	return b, nil
}

func appendBegin(b []byte, own Digest) []byte {
	return append(append(b, byte(kindBegin), Version), own[:]...)
}

func appendCommit(b []byte, commit bool) []byte {
	if commit {
		return append(b, byte(kindCommit), 1)
	}
	return append(b, byte(kindCommit), 0)
}

// listsChanges reports whether a request of the kind is a list of changes.
func (k kind) listsChanges() bool {
	return k == kindChanges || k == kindQuery || k == kindDisconnect
}

// isAlone reports whether a request of the kind is that byte alone.
func (k kind) isAlone() bool {
	switch k {
	case kindExit, kindQueryResult, kindShieldResult, kindShieldState, kindTrial, kindConfirm, kindSandbox, kindPing:
		return true
	}
	return false
}

// parse parses a request that arrived at now. It does not retain b.
func parse(b []byte, now time.Time) (r request, err error) {
	if len(b) == 0 || len(b) > maxRequest {
		return r, fmt.Errorf("expected a request of 1 to %d bytes, got %d", maxRequest, len(b))
	}
	r.kind, b = kind(b[0]), b[1:]
	switch {
	case r.kind.isAlone() && len(b) == 0:
		return r, nil
	case r.kind == kindShield:
		r.shield, err = parseShield(b)
		return r, err
	case r.kind.maySetTrial() && (len(b) == 0 || len(b) == trialSize):
		r.trial = parseAsked(b)
		return r, nil
	case r.kind == kindCommit && len(b) == 1 && b[0] <= 1:
		r.commit = b[0] == 1
		return r, nil
	case r.kind == kindBegin && len(b) > 0 && b[0] != Version:
		r.version = b[0]
		return r, nil
	case r.kind == kindBegin && len(b) == 1+len(r.digest):
		r.version, r.digest = b[0], Digest(b[1:])
		return r, nil
	case r.kind == kindKnockPorts && len(b) > portsHead && len(b)%2 == 0 && len(b) <= portsHead+2*MaxChanges:
		r.lasts = time.Duration(binary.BigEndian.Uint32(b)) * time.Millisecond
		for b = b[portsHead:]; len(b) > 0; b = b[2:] {
			r.ports = append(r.ports, binary.BigEndian.Uint16(b))
		}
		return r, nil
	case r.kind.listsChanges() && len(b) > 0 && len(b)%changeSize == 0:
		r.changes = make([]access.Change, 0, len(b)/changeSize)
		for ; len(b) > 0; b = b[changeSize:] {
			c, err := parseChange(b[:changeSize], now)
			if err != nil {
				return r, err
			}
			r.changes = append(r.changes, c)
		}
		return r, nil
	}
	return r, fmt.Errorf("a request of kind %d cannot have %d bytes", r.kind, len(b))
}

func parseChange(b []byte, now time.Time) (c access.Change, err error) {
	c.Service = access.ServiceID(b)
	if ms := binary.BigEndian.Uint32(b[8:]); ms > 0 {
		c.Until = now.Add(time.Duration(ms) * time.Millisecond)
	}
	family, bits, flags, zero := b[12], int(b[13]), b[14], b[15]
	address := [16]byte(b[16:])
	switch family {
	case 4:
		if [12]byte(address[4:]) != [12]byte{} {
			return c, errors.New("expected zero bytes after an IPv4 address")
		}
		c.Peer.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(address[:])), bits)
	case 6:
		c.Peer.Prefix = netip.PrefixFrom(netip.AddrFrom16(address), bits)
	default:
		return c, fmt.Errorf("expected the address family 4 or 6, got %d", family)
	}
	c.Peer.ISN = wire.ISN(binary.BigEndian.Uint32(b[32:]))
	c.Peer.Port = binary.BigEndian.Uint16(b[36:])
	c.Cut = flags == flagCut
	switch {
	case !c.Peer.IsValid():
		return c, fmt.Errorf("expected a peer, got %s with %d bits", c.Peer.Prefix.Addr(), bits)
	case flags > flagCut || zero != 0 || c.Cut && !c.Revokes():
		return c, fmt.Errorf("a change cannot have the flags %d", flags)
	}
	return c, nil
}

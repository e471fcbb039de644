package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// How many leases are kept: of one client, and of all.
const (
	MaxClientLeases = 256
	MaxLeases       = 65_536
)

// maxZone is the longest zone that a lease may have. The longest that there is
// is an interface's index.
const maxZone = 16

// Lease is an address that a client was let in from. It is kept until Forget,
// also when it has ended: what was connected meanwhile may live on.
type Lease struct {
	Client  wire.Identifier
	Service access.ServiceID
	Peer    access.Peer
	Until   time.Time // when it ends, or ended, by the wall clock; whole seconds are kept
}

// leaseID is what tells leases apart.
type leaseID struct {
	client  wire.Identifier
	service access.ServiceID
	peer    access.Peer
}

func (l Lease) id() leaseID { return leaseID{l.Client, l.Service, l.Peer} }

func (l Lease) check() error {
	if !l.Peer.IsValid() || len(l.Peer.Zone) > maxZone {
		return fmt.Errorf("a lease of client %s is for no peer: %s", l.Client, l.Peer)
	}
	return nil
}

// A lease's key is a 0, client, service, and the peer: bits of the prefix,
// address in 4 or 16 bytes, zone after the latter. Its value is when it ends,
// in Unix seconds, and a checksum of this and the key.
const (
	leaseMark      = 0
	leaseKeySize   = 1 + 4 + 8 + 1
	leaseValueSize = 8 + 8
)

func isLease(key []byte) bool {
	return len(key) >= leaseKeySize+4 && len(key) <= leaseKeySize+16+maxZone && key[0] == leaseMark
}

func (id leaseID) key() []byte {
	b := make([]byte, 0, leaseKeySize+16+maxZone)
	b = append(b, leaseMark)
	b = append(b, id.client[:]...)
	b = append(b, id.service[:]...)
	b = append(b, byte(id.peer.Prefix.Bits()))
	b = append(b, id.peer.Prefix.Addr().AsSlice()...)
	return append(b, id.peer.Zone...)
}

func (l Lease) encode(key []byte) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, leaseValueSize), uint64(l.Until.Unix()))
	return binary.BigEndian.AppendUint64(b, checksum(key, b))
}

func decodeLease(key, value []byte) (l Lease, err error) {
	if !isLease(key) || len(value) != leaseValueSize {
		return l, fmt.Errorf("a lease of %d bytes under a key of %d", len(value), len(key))
	}
	if checksum(key, value[:8]) != sumOf(value) {
		return l, fmt.Errorf("the checksum of a lease of client %q is wrong", key[1:5])
	}
	l.Client = wire.Identifier(key[1:])
	l.Service = access.ServiceID(key[5:])
	address, bits := key[leaseKeySize:], int(key[leaseKeySize-1])
	if len(address) > 4 {
		if len(address) < 16 {
			return l, fmt.Errorf("a lease of client %q has an address of %d bytes", key[1:5], len(address))
		}
		l.Peer.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(address)), bits)
		l.Peer.Zone = string(address[16:])
	} else {
		l.Peer.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), bits)
	}
	l.Until = time.Unix(int64(binary.BigEndian.Uint64(value)), 0)
	if err := l.check(); err != nil || !bytes.Equal(l.id().key(), key) {
		return l, fmt.Errorf("a lease of client %q is for no peer", key[1:5])
	}
	return l, nil
}

func sortLeases(leases []Lease) {
	slices.SortFunc(leases, func(a, b Lease) int { return bytes.Compare(a.id().key(), b.id().key()) })
}

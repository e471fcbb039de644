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

// Maximum numbers of stored leases: of one client, and of all clients.
const (
	MaxClientLeases = 256
	MaxLeases       = 65_536
)

// maxZone is the maximum length of a lease's zone, which is the index of an
// interface.
const maxZone = 16

// Lease is a lease of a client: an address from which the client has access, or
// had it. It is stored until Forget, also after its end, because connections may
// outlive it.
type Lease struct {
	Client  wire.Identifier
	Service access.ServiceID
	Peer    access.Peer
	Until   time.Time // when it ends, or ended, by the wall clock; whole seconds are kept
}

// leaseID identifies a lease.
type leaseID struct {
	client  wire.Identifier
	service access.ServiceID
	peer    access.Peer
}

func (l Lease) id() leaseID { return leaseID{l.Client, l.Service, l.Peer} }

func (l Lease) check() error {
	if !l.Peer.IsValid() || len(l.Peer.Zone) > maxZone {
		return fmt.Errorf("the lease of client %s has an invalid peer: %s", l.Client, l.Peer)
	}
	return nil
}

// A lease's key is a 0, the client, the service, and the peer: the bits of the
// prefix, the address in 4 or 16 bytes, and after 16 bytes the zone. Its value is
// the end of the lease, in Unix seconds, and a checksum of this and the key.
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
		return l, fmt.Errorf("expected a lease of %d bytes under a key, got %d bytes under a key of %d",
			leaseValueSize, len(value), len(key))
	}
	if checksum(key, value[:8]) != sumOf(value) {
		return l, fmt.Errorf("the checksum of a lease of client %q is wrong", key[1:5])
	}
	l.Client = wire.Identifier(key[1:])
	l.Service = access.ServiceID(key[5:])
	address, bits := key[leaseKeySize:], int(key[leaseKeySize-1])
	if len(address) > 4 {
		if len(address) < 16 {
			return l, fmt.Errorf("a lease of client %q has an address of %d bytes, expected 4 or 16",
				key[1:5], len(address))
		}
		l.Peer.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(address)), bits)
		l.Peer.Zone = string(address[16:])
	} else {
		l.Peer.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), bits)
	}
	l.Until = time.Unix(int64(binary.BigEndian.Uint64(value)), 0)
	if err := l.check(); err != nil || !bytes.Equal(l.id().key(), key) {
		return l, fmt.Errorf("a lease of client %q has an invalid peer", key[1:5])
	}
	return l, nil
}

func sortLeases(leases []Lease) {
	slices.SortFunc(leases, func(a, b Lease) int { return bytes.Compare(a.id().key(), b.id().key()) })
}

package grants

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
	"sallyport/verify/wire"
)

// Layout of a value, in bytes from its start: see GRANTS.md.
const (
	offsetVersion   = 0
	offsetKind      = 1
	offsetDiffer    = 2
	offsetCount     = 3
	offsetEnd       = 4
	offsetAddress   = 12
	offsetTag       = 28
	offsetDatagrams = offsetTag + verify.TagSize

	version = 1

	kindOpens  = 1
	kindCloses = 2
)

// value is the content of a key: parsed, not authenticated.
type value struct {
	closes bool
	// differ and address are those of sessions.Grant.
	differ    uint8
	address   netip.Addr
	end       time.Time // in whole milliseconds
	tag       [verify.TagSize]byte
	datagrams []byte
}

// The errors of a value.
var (
	errSize    = errors.New("the size is not that of a value")
	errVersion = errors.New("the version is unknown")
	errKind    = errors.New("the kind is unknown")
	errEnd     = errors.New("the end is not a time after 1970")
	errAddress = errors.New("the address is none that all gateways have in common")
	errDiffer  = errors.New("the addresses differ in more bits than they have, or nothing opens")
)

// parseValue decodes a value, which it retains. It checks no datagram.
func parseValue(b []byte) (v value, err error) {
	if len(b) > 0 && b[offsetVersion] > version {
		return v, cluster.CheckVersion(int(b[offsetVersion]), version)
	}
	if len(b) < offsetDatagrams {
		return v, errSize
	}
	if b[offsetVersion] != version {
		return v, errVersion
	}
	end := binary.BigEndian.Uint64(b[offsetEnd:])
	v = value{
		closes:    b[offsetKind] == kindCloses,
		differ:    b[offsetDiffer],
		end:       time.UnixMilli(int64(end)),
		address:   netip.AddrFrom16([16]byte(b[offsetAddress:])).Unmap(),
		tag:       [verify.TagSize]byte(b[offsetTag:]),
		datagrams: b[offsetDatagrams:],
	}
	switch n := int(b[offsetCount]); {
	case b[offsetKind] != kindOpens && b[offsetKind] != kindCloses:
		return value{}, errKind
	case n < 1 || n > wire.MaxKnocks || len(v.datagrams) != n*wire.Size:
		return value{}, errSize
	case end == 0 || end > 1<<62:
		return value{}, errEnd
	case !travels(v.address):
		return value{}, errAddress
	case int(v.differ) > v.address.BitLen() || v.closes && v.differ != 0:
		return value{}, errDiffer
	}
	return v, nil
}

// travels reports whether an address means the same host to all gateways.
func travels(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}

// appendBinary appends the bytes that parseValue reads.
func (v value) appendBinary(b []byte) []byte {
	b = v.appendHead(b)
	b = append(b, v.tag[:]...)
	return append(b, v.datagrams...)
}

func (v value) appendHead(b []byte) []byte {
	kind := byte(kindOpens)
	if v.closes {
		kind = kindCloses
	}
	b = append(b, version, kind, v.differ, byte(len(v.datagrams)/wire.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(v.end.UnixMilli()))
	address := v.address.As16()
	return append(b, address[:]...)
}

// tagged returns the text that the tag covers: the gateway, the head, and the first
// datagram, which names the attempt.
func (v value) tagged(gateway string) []byte {
	b := append([]byte{byte(len(gateway))}, gateway...)
	b = v.appendHead(b)
	return append(b, v.datagrams[:wire.SignedSize]...)
}

package split

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"

	"sallyport/sessions/fleet/cluster"
	"sallyport/verify"
	"sallyport/verify/wire"
)

const (
	version = 1
	// maxAttempts is how many attempts of a client a value holds: as many as a slot of
	// package sessions.
	maxAttempts = 4
	// maxParts is how many gateways may have a part of an attempt.
	maxParts = 16

	headerSize  = 1 + 1
	attemptSize = 8 + 4 + 4 + 1 + 1
	partSize    = maskSize + 1 + 16 + verify.TagSize // after the name
	maskSize    = wire.MaxKnocks / 8
)

// mask has a bit for each knock: that of knock i is bit i mod 8 of byte i/8.
type mask [maskSize]byte

func (m *mask) set(i int8) { m[i/8] |= 1 << (i % 8) }

func (m mask) or(other mask) mask {
	for i := range m {
		m[i] |= other[i]
	}
	return m
}

// all returns the mask of all knocks of a sequence of n.
func all(n uint8) (m mask) {
	for i := range int(n) {
		m.set(int8(i))
	}
	return m
}

// name identifies an attempt of a client.
type name struct {
	secret    verify.Fingerprint // from which the keys of gateways are made
	base      uint32
	timestamp uint32
	n         uint8
}

// compare orders attempts by age.
func (a name) compare(b name) int {
	return cmp.Or(cmp.Compare(a.timestamp, b.timestamp), cmp.Compare(a.base, b.base), cmp.Compare(a.secret, b.secret), cmp.Compare(a.n, b.n))
}

// part is what one gateway has got of an attempt.
type part struct {
	gateway string
	knocks  mask
	differ  uint8      // in how many low bits the sources of its knocks differ
	address netip.Addr // of the first one
	tag     [verify.TagSize]byte
}

// tagged returns the text that the tag of a part covers.
func (p *part) tagged(of name) []byte {
	b := append([]byte{byte(len(p.gateway))}, p.gateway...)
	b = of.append(b)
	return p.appendHead(b)
}

// attempt is an attempt with its parts, ascending by gateway.
type attempt struct {
	name
	parts []part
}

// value is the content of the key of a client: parsed, not verified. The attempts ascend by
// age. The zero value has none, and no encoding.
type value struct{ attempts []attempt }

func (a name) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(a.secret))
	b = binary.BigEndian.AppendUint32(b, a.base)
	b = binary.BigEndian.AppendUint32(b, a.timestamp)
	return append(b, a.n)
}

func (p *part) appendHead(b []byte) []byte {
	b = append(b, p.knocks[:]...)
	address := p.address.As16()
	return append(append(b, p.differ), address[:]...)
}

// append appends the bytes that parse reads.
func (v value) append(b []byte) []byte {
	b = append(b, version, byte(len(v.attempts)))
	for i := range v.attempts {
		a := &v.attempts[i]
		b = append(a.name.append(b), byte(len(a.parts)))
		for j := range a.parts {
			p := &a.parts[j]
			b = append(append(b, byte(len(p.gateway))), p.gateway...)
			b = append(p.appendHead(b), p.tag[:]...)
		}
	}
	return b
}

// The errors of a value.
var (
	errSize    = errors.New("the size is not that of a value")
	errVersion = errors.New("the version is unknown")
	errAttempt = errors.New("an attempt is not one that a client can make")
	errPart    = errors.New("a part is not one that a gateway can have")
	errOrder   = errors.New("attempts or parts are not in their order")
)

// parse decodes a value. Each value has one encoding.
func parse(b []byte) (v value, err error) {
	if len(b) > 0 && b[0] > version {
		return v, cluster.CheckVersion(int(b[0]), version)
	}
	if len(b) < headerSize {
		return v, errSize
	}
	if b[0] != version {
		return v, errVersion
	}
	count := int(b[1])
	if count < 1 || count > maxAttempts {
		return v, errSize
	}
	b = b[headerSize:]
	for i := range count {
		var a attempt
		if a, b, err = parseAttempt(b); err != nil {
			return value{}, err
		}
		if i > 0 && v.attempts[i-1].compare(a.name) >= 0 {
			return value{}, errOrder
		}
		v.attempts = append(v.attempts, a)
	}
	if len(b) > 0 {
		return value{}, errSize
	}
	return v, nil
}

func parseAttempt(b []byte) (a attempt, rest []byte, err error) {
	if len(b) < attemptSize {
		return a, nil, errSize
	}
	a.name = name{
		verify.Fingerprint(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]), b[16],
	}
	parts := int(b[17])
	b = b[attemptSize:]
	if a.secret == 0 || a.n < 1 || a.n > wire.MaxKnocks || uint64(a.base)+uint64(a.n)-1 > math.MaxUint32 {
		return a, nil, errAttempt
	}
	if parts < 1 || parts > maxParts {
		return a, nil, errSize
	}
	for i := range parts {
		var p part
		if p, b, err = parsePart(b, a.n); err != nil {
			return a, nil, err
		}
		if i > 0 && a.parts[i-1].gateway >= p.gateway {
			return a, nil, errOrder
		}
		a.parts = append(a.parts, p)
	}
	return a, b, nil
}

func parsePart(b []byte, n uint8) (p part, rest []byte, err error) {
	if len(b) < 1 {
		return p, nil, errSize
	}
	end := 1 + int(b[0]) // of the name; a sum of bytes would overflow
	if len(b) < end+partSize {
		return p, nil, errSize
	}
	p.gateway, b = string(b[1:end]), b[end:]
	p.knocks, p.differ = mask(b), b[maskSize]
	p.address = netip.AddrFrom16([16]byte(b[maskSize+1:])).Unmap()
	p.tag = [verify.TagSize]byte(b[maskSize+17:])
	switch {
	case wire.CheckGateway(p.gateway) != nil, p.knocks == mask{}, p.knocks.or(all(n)) != all(n),
		!travels(p.address), int(p.differ) > p.address.BitLen():
		return p, nil, errPart
	}
	return p, b[partSize:], nil
}

// travels reports whether an address means the same host to all gateways.
func travels(a netip.Addr) bool {
	return a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}

// find returns the index of an attempt, or where it would be.
func (v value) find(of name) (int, bool) {
	return slices.BinarySearchFunc(v.attempts, of, func(a attempt, of name) int { return a.compare(of) })
}

package carrier

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// ClientOf returns the address that stands for the client of a RequestConnection, as
// ID_A and as PID_A: in the prefix of RFC 6666, from which no packet comes.
func ClientOf(x Exchange) netip.Addr {
	b := [16]byte{0: 0x01}
	binary.BigEndian.PutUint64(b[8:], uint64(x))
	return netip.AddrFrom16(b)
}

// Names of carriers, for ServerOf.
const (
	DNS  = "dns"
	HTTP = "http"
)

// ServerOf returns the address that stands for the server in an exchange of a
// RequestConnection, as PID_B. The name is the zone, or the host of the URL, in ASCII
// and lower case, without the final dot and without a port.
func ServerOf(carrier, name string) netip.Addr {
	sum := sha256.Sum256([]byte("sallyport carrier 1, " + carrier + ", " + name))
	b := [16]byte(sum[:16])
	b[0] = 0xfd
	return netip.AddrFrom16(b)
}

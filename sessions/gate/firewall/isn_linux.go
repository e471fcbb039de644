package firewall

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// A port that requires initial sequence numbers has sets of source address and
// number. One rule for each family compares a SYN with them. No other rule of the
// port's chain lets a SYN in, except those of trusted peers.

// The keys of the sets, as nft has them.
var (
	typeISN4 = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInteger)
	typeISN6 = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInteger)
)

// isnKey returns the key of a peer's element.
func isnKey(p access.Peer) string {
	return string(binary.BigEndian.AppendUint32(p.Prefix.Addr().AsSlice(), uint32(p.ISN)))
}

// The second field of a key is in the first 32-bit register after the address, or
// after the 64 bits of a network.
const (
	afterIPv4    = unix.NFT_REG32_00 + 1
	afterNetwork = unix.NFT_REG32_00 + 2
	afterIPv6    = unix.NFT_REG_2
	tcpSeq       = 4 // offset of the sequence number in a TCP header
)

// isISNGranted matches SYNs with the address and number of a grant.
func (s portSets) isISNGranted() (all []match) {
	source4 := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	source6 := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
	number := func(register uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: tcpSeq, Len: 4}
	}
	for _, of := range []match{
		append(family(unix.NFPROTO_IPV4), source4, number(afterIPv4), in(s.isn4)),
		append(family(unix.NFPROTO_IPV6), source6, number(afterIPv6), in(s.isn6)),
	} {
		all = append(all, match(rule(TCP.match(), bareSYN(), of)))
	}
	return all
}

// isnUserdata returns the user data that nft writes for a set with numbers.
func isnUserdata(key nftables.SetDatatype) []byte {
	source := numbers(payloadProtocol, protocolIP, payloadType, fieldIPSource)
	if key == typeISN6 {
		source = numbers(payloadProtocol, protocolIP6, payloadType, fieldIP6Source)
	}
	return concatUserdata(source, numbers(
		payloadProtocol, protocolTCP, payloadType, fieldTCPSeq, payloadLength, numberBits))
}

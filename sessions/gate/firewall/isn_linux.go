package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
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

// isnSet returns a set without the library's own user data: addSet writes it.
func isnSet(name string, key nftables.SetDatatype) *nftables.Set {
	s := grantSet(name, key)
	s.KeyByteOrder = nil
	return s
}

// isnKey returns the key of a peer's element.
func isnKey(p access.Peer) string {
	return string(binary.BigEndian.AppendUint32(p.Prefix.Addr().AsSlice(), uint32(p.ISN)))
}

// The second field of a key is in the first 32-bit register after the address.
const (
	afterIPv4 = unix.NFT_REG32_00 + 1
	afterIPv6 = unix.NFT_REG_2
	tcpSeq    = 4 // offset of the sequence number in a TCP header
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

// The description of a key's expressions in the user data of a set, of
// src/{expression,payload,proto}.c and include/{expression,proto}.h in nft. nft 1.0.6
// requires it to print the type of a key with a number.
const (
	udataExpression, udataData   = 0, 1 // of an expression: its kind, and the data of the kind
	expressionPayload            = 7
	expressionConcat             = 13
	payloadProtocol, payloadType = 0, 1 // of a payload: the protocol and its field
	payloadBase, payloadLength   = 3, 4
	protocolIP, fieldIPSource    = 12, 11
	protocolIP6, fieldIP6Source  = 13, 8
	protocolTCP, fieldTCPSeq     = 8, 3
	numberBits                   = 32
)

// isnUserdata returns the user data that nft writes for a set: the byte order of its
// key, which has none, and its expressions.
func isnUserdata(key nftables.SetDatatype) []byte {
	numbers := func(pairs ...uint32) (b []byte) {
		for i := 0; i < len(pairs); i += 2 {
			b = userdata.AppendUint32(b, userdata.Type(pairs[i]), pairs[i+1])
		}
		return b
	}
	expression := func(kind uint32, data []byte) []byte {
		return userdata.Append(numbers(udataExpression, kind), udataData, data)
	}
	source := numbers(payloadProtocol, protocolIP, payloadType, fieldIPSource)
	if key == typeISN6 {
		source = numbers(payloadProtocol, protocolIP6, payloadType, fieldIP6Source)
	}
	fields := userdata.Append(nil, 0, expression(expressionPayload, source))
	fields = userdata.Append(fields, 1, expression(expressionPayload, numbers(
		payloadProtocol, protocolTCP, payloadType, fieldTCPSeq, payloadLength, numberBits)))
	return userdata.Append(slices.Clip(noByteOrder), userdata.NFTNL_UDATA_SET_KEY_TYPEOF, expression(expressionConcat, fields))
}

// addSet adds a set to a batch.
func addSet(batch *nftables.Conn, s *nftables.Set) error {
	if err := batch.AddSet(s, nil); err != nil {
		return fmt.Errorf("make the set %s: %w", s.Name, err)
	}
	if s.KeyType != typeISN4 && s.KeyType != typeISN6 {
		return nil
	}
	// The library can only write other user data.
	attribute, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_SET_USERDATA, Data: isnUserdata(s.KeyType)}})
	if err != nil {
		return err
	}
	return appendToLast(batch, attribute)
}

// errLibrary means that the library of nf_tables has another form than that of the
// version for which appendToLast was written. The table is not made then.
var errLibrary = errors.New("the library of nf_tables has no list of messages that ends with the new set")

// appendToLast appends attributes to the last message of a batch, which makes a set.
// The library does not export its messages, except to tests, and has no way to add
// one. TestISNUserdata fails if a later version of the library differs.
func appendToLast(batch *nftables.Conn, attributes []byte) error {
	field := reflect.ValueOf(batch).Elem().FieldByName("messages")
	if !field.IsValid() || field.Type() != reflect.TypeFor[[]netlink.Message]() || field.Len() == 0 {
		return errLibrary
	}
	messages := reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Interface().(*[]netlink.Message)
	last := &(*messages)[len(*messages)-1]
	if last.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSET {
		return errLibrary
	}
	last.Data = append(last.Data, attributes...)
	return nil
}

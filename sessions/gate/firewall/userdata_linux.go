package firewall

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The description of a key's expressions in the user data of a set, of
// src/{expression,payload,proto}.c and include/{expression,proto}.h in nft. nft 1.0.6
// writes it for each concatenation, and requires it to print the type of a key with a
// number, or with a part of an address.
const (
	udataExpression, udataData                = 0, 1 // of an expression: its kind, and the data of the kind
	expressionPayload                         = 7
	expressionConcat                          = 13
	payloadProtocol, payloadType              = 0, 1 // of a payload: the protocol and its field,
	payloadBase, payloadOffset, payloadLength = 2, 3, 4
	protocolIP, fieldIPSource                 = 12, 11
	protocolIP6, fieldIP6Source               = 13, 8
	protocolTCP, fieldTCPSeq                  = 8, 3
	protocolUDP, fieldDestination             = 6, 2
	protocolNone, fieldNone, baseNetwork      = 0, 0, 2
	numberBits                                = 32
)

// numbers returns attributes, each of a type and a number.
func numbers(pairs ...uint32) (b []byte) {
	for i := 0; i < len(pairs); i += 2 {
		b = userdata.AppendUint32(b, userdata.Type(pairs[i]), pairs[i+1])
	}
	return b
}

// expressionOf returns the description of an expression.
func expressionOf(kind uint32, data []byte) []byte {
	return userdata.Append(numbers(udataExpression, kind), udataData, data)
}

// concatUserdata returns the user data that nft writes for a set whose key is a
// concatenation: the byte order of the key, which has none, and its fields, each a
// payload. Without fields, nft uses the types of the key.
func concatUserdata(payloads ...[]byte) []byte {
	var fields []byte
	for i, p := range payloads {
		fields = userdata.Append(fields, userdata.Type(i), expressionOf(expressionPayload, p))
	}
	return userdata.Append(slices.Clip(noByteOrder), userdata.NFTNL_UDATA_SET_KEY_TYPEOF, expressionOf(expressionConcat, fields))
}

// addSet adds a set to a batch.
func addSet(batch *nftables.Conn, s *nftables.Set) error {
	if err := batch.AddSet(s, nil); err != nil {
		return fmt.Errorf("make the set %s: %w", s.Name, err)
	}
	own := ownUserdata(s.KeyType)
	if own == nil {
		return nil
	}
	// The library can only write other user data.
	attribute, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_SET_USERDATA, Data: own}})
	if err != nil {
		return err
	}
	return appendToLast(batch, attribute)
}

// ownUserdata returns the user data of sets that the library cannot describe; nil:
// it can.
func ownUserdata(key nftables.SetDatatype) []byte {
	switch key {
	case typeISN4, typeISN6:
		return isnUserdata(key)
	case typeDrawn4, typeDrawn6:
		return concatUserdata()
	}
	if n, ok := drawnNetOf(key); ok {
		return n.userdata()
	}
	return nil
}

// errLibrary means that the library of nf_tables has another form than that of the
// version for which appendToLast was written. The table is not made then.
var errLibrary = errors.New("the library of nf_tables has no list of messages that ends with the new set")

// appendToLast appends attributes to the last message of a batch, which makes a set.
// The library does not export its messages, except to tests, and has no way to add
// one. TestOwnUserdata fails if a later version of the library differs.
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

package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of nf_tables that golang.org/x/sys lacks, as of
// include/uapi/linux/netfilter/nf_tables.h.
const (
	tableHandle   = 4
	tableUserdata = 6
	chainFlags    = 10
	chainUserdata = 12
	chainBinding  = 1 << 2 // a flag
	setHandle     = 16
	setExpr       = 17
	setExprs      = 18
	// The first attribute of each object is the name of its table.
	attributeTable    = 1
	attributeName     = 2 // of sets, objects and flowtables
	attributeTypeMask = 0x3fff
)

// object is a table, chain, rule or set, as the kernel describes it.
type object map[uint16][]byte

// text returns an attribute that ends with a zero byte.
func (o object) text(of uint16) string { return string(bytes.TrimRight(o[of], "\x00")) }

// kernel is a socket for requests to nf_tables.
type kernel struct{ conn *netlink.Conn }

func openKernel() (kernel, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return kernel{}, fmt.Errorf("open an nf_tables socket: %w", explain(err))
	}
	return kernel{conn}, nil
}

func (k kernel) close() { k.conn.Close() }

// list returns the objects of a kind in our table, which may be none.
func (k kernel) list(message uint16) ([]object, error) {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: attributeTable, Data: []byte(Name + "\x00")}})
	if err != nil {
		return nil, err
	}
	if message == unix.NFT_MSG_GETTABLE || message == unix.NFT_MSG_GETCHAIN {
		data = nil // the kernel would return only the object of that name
	}
	replies, err := k.ask(message, netlink.Dump, data)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []object
	for _, r := range replies {
		o, err := parseObject(r.Data)
		if err != nil {
			return nil, err
		}
		if o.text(attributeTable) == Name {
			all = append(all, o)
		}
	}
	return all, nil
}

// elementsOf returns the elements of a set. The error satisfies
// errors.Is(err, unix.ENOENT) if the set or its table does not exist: the
// library reports the kernel's error as text only.
func elementsOf(batch *nftables.Conn, set *nftables.Set) ([]nftables.SetElement, error) {
	elements, err := batch.GetSetElements(set)
	if err == nil {
		return elements, nil
	}
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EPERM} {
		if !errors.Is(err, errno) && strings.HasSuffix(err.Error(), errno.Error()) {
			err = errno
		}
	}
	return nil, fmt.Errorf("list the set %s: %w", set.Name, explain(err))
}

// generation returns the number of the last transaction in this network
// namespace.
func (k kernel) generation() (uint32, error) {
	replies, err := k.ask(unix.NFT_MSG_GETGEN, 0, nil)
	if err != nil {
		return 0, err
	}
	for _, r := range replies {
		if o, err := parseObject(r.Data); err == nil && len(o[unix.NFTA_GEN_ID]) == 4 {
			return binary.BigEndian.Uint32(o[unix.NFTA_GEN_ID]), nil
		}
	}
	return 0, errors.New("request the generation of nf_tables: the reply has none")
}

func (k kernel) ask(message uint16, flags netlink.HeaderFlags, data []byte) ([]netlink.Message, error) {
	replies, err := k.conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{byte(table.Family), unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return nil, fmt.Errorf("request to nf_tables: %w", explain(err))
	}
	return replies, nil
}

// parseObject parses the attributes after the header of nfnetlink.
func parseObject(data []byte) (object, error) {
	if len(data) < 4 {
		return nil, fmt.Errorf("expected at least 4 bytes from nf_tables, got %d", len(data))
	}
	attributes, err := netlink.UnmarshalAttributes(data[4:])
	if err != nil {
		return nil, fmt.Errorf("parse a message of nf_tables: %w", err)
	}
	o := object{}
	for _, a := range attributes {
		o[a.Type&attributeTypeMask] = a.Data
	}
	return o, nil
}

// append adds attributes to b. The result differs if one of these attributes
// differs.
func (o object) append(b []byte, of ...uint16) []byte {
	for _, t := range of {
		b = binary.AppendUvarint(append(b, byte(t)), uint64(len(o[t])))
		b = append(b, o[t]...)
	}
	return b
}

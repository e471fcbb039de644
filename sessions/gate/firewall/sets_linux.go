package firewall

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// MaxGrants is how many elements each set of grants has room for. Only clients
// that knocked correctly fill it; beyond it Open fails with ENFILE.
const MaxGrants = 1 << 20

// sets are those of one table. Rules and elements name them by table and name.
type sets struct {
	granted4, granted6, granted6net *nftables.Set // source . protocol . port
	anyone4, anyone6                *nftables.Set // protocol . port
	knock, except                   *nftables.Set // port
}

var table = &nftables.Table{Name: Name, Family: nftables.TableFamilyINet}

var (
	granted4Type = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	granted6Type = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetProto, nftables.TypeInetService)
	anyoneType   = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
)

func newSets() sets {
	grants := func(name string, key nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{
			Table: table, Name: name, KeyType: key, Concatenation: true,
			HasTimeout: true, Size: MaxGrants, KeyByteOrder: binaryutil.BigEndian,
		}
	}
	ports := func(name string, timeout bool) *nftables.Set {
		return &nftables.Set{
			Table: table, Name: name, KeyType: nftables.TypeInetService,
			HasTimeout: timeout, Size: 1 << 16, KeyByteOrder: binaryutil.BigEndian,
		}
	}
	return sets{
		granted4: grants("granted4", granted4Type), granted6: grants("granted6", granted6Type),
		granted6net: grants("granted6net", granted6Type),
		anyone4:     grants("anyone4", anyoneType), anyone6: grants("anyone6", anyoneType),
		knock: ports("knock", true), except: ports("except", false),
	}
}

// grants are the sets that say who may come in.
func (s sets) grants() []*nftables.Set {
	return []*nftables.Set{s.granted4, s.granted6, s.granted6net, s.anyone4, s.anyone6}
}

func (s sets) all() []*nftables.Set { return append(s.grants(), s.knock, s.except) }

// key is protocol . port, each on a register of four bytes.
func (p Port) key() []byte {
	return binary.BigEndian.AppendUint16([]byte{byte(p.Protocol), 0, 0, 0}, p.Port)
}

// grant returns the element that lets a peer reach a port, and its set. Packets
// have no zone: a link-local address counts on every link.
func (s sets) grant(p Port, of access.Peer) (*nftables.Set, []byte) {
	padded := append(p.key(), 0, 0)
	a := of.Prefix.Addr()
	switch {
	case of == access.Anyone4:
		return s.anyone4, padded
	case of == access.Anyone6:
		return s.anyone6, padded
	case a.Is4():
		return s.granted4, append(a.AsSlice(), padded...)
	case of.Prefix.IsSingleIP():
		return s.granted6, append(a.AsSlice(), padded...)
	}
	return s.granted6net, append(a.AsSlice(), padded...)
}

// isGranted is true of packets that a grant lets reach a port.
func (s sets) isGranted(p Port) []match {
	in := func(set *nftables.Set) expr.Any {
		return &expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: set.Name, SetID: set.ID}
	}
	// after puts protocol . port on the registers behind a source address.
	after := func(register uint32) expr.Any {
		return &expr.Immediate{Register: register, Data: append(p.key(), 0, 0)}
	}
	source4 := &expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	source6 := &expr.Payload{DestRegister: unix.NFT_REG32_00, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
	network := make([]byte, 16)
	for i := range access.PrefixNetwork / 8 {
		network[i] = 0xff
	}
	half := &expr.Bitwise{SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG32_00, Len: 16, Mask: network, Xor: make([]byte, 16)}
	four := func(m ...expr.Any) match { return append(family(unix.NFPROTO_IPV4), m...) }
	six := func(m ...expr.Any) match { return append(family(unix.NFPROTO_IPV6), m...) }
	return []match{
		four(source4, after(unix.NFT_REG32_01), in(s.granted4)),
		six(source6, after(unix.NFT_REG32_04), in(s.granted6)),
		six(source6, half, after(unix.NFT_REG32_04), in(s.granted6net)),
		four(after(unix.NFT_REG32_00), in(s.anyone4)),
		six(after(unix.NFT_REG32_00), in(s.anyone6)),
	}
}

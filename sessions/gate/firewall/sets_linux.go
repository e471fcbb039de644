package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// MaxGrants is how many elements each set of grants has room for. Only clients
// that knocked correctly fill it; beyond it Open fails with ENFILE.
const MaxGrants = 1 << 20

// sets are those of one table. Rules and elements name them by table and name.
type sets struct {
	granted4, granted6, granted6net *nftables.Set // source . protocol . port
	anyone                          *nftables.Set // protocol . port
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
		granted6net: grants("granted6net", granted6Type), anyone: grants("anyone", anyoneType),
		knock: ports("knock", true), except: ports("except", false),
	}
}

// grants are the sets that say who may come in.
func (s sets) grants() []*nftables.Set {
	return []*nftables.Set{s.granted4, s.granted6, s.granted6net, s.anyone}
}

func (s sets) all() []*nftables.Set { return append(s.grants(), s.knock, s.except) }

// key is protocol . port, each on a register of four bytes.
func (p Port) key() []byte {
	return binary.BigEndian.AppendUint16([]byte{byte(p.Protocol), 0, 0, 0}, p.Port)
}

// grant returns the element that lets an address reach a port, and its set.
// The zone of an address does not count: packets have none.
func (s sets) grant(p Port, a netip.Addr) (*nftables.Set, []byte) {
	padded := append(p.key(), 0, 0)
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return s.anyone, padded
	case a.Is4():
		return s.granted4, append(a.AsSlice(), padded...)
	case p.Prefix6 == 64 && !a.IsLinkLocalUnicast():
		// Link-local addresses count whole: the first half of theirs is the
		// same for all.
		b := a.As16()
		clear(b[8:])
		return s.granted6net, append(b[:], padded...)
	}
	return s.granted6, append(a.AsSlice(), padded...)
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
	all := []match{
		append(family(unix.NFPROTO_IPV4), source4, after(unix.NFT_REG32_01), in(s.granted4)),
		append(family(unix.NFPROTO_IPV6), source6, after(unix.NFT_REG32_04), in(s.granted6)),
	}
	if p.Prefix6 == 64 {
		half := make([]byte, 16)
		for i := range half[:8] {
			half[i] = 0xff
		}
		all = append(all, append(family(unix.NFPROTO_IPV6), source6,
			&expr.Bitwise{SourceRegister: unix.NFT_REG32_00, DestRegister: unix.NFT_REG32_00, Len: 16, Mask: half, Xor: make([]byte, 16)},
			after(unix.NFT_REG32_04), in(s.granted6net)))
	}
	return append(all, match{after(unix.NFT_REG32_00), in(s.anyone)})
}

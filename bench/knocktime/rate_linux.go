package knocktime

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ethernetBytes of a frame are not counted: the model's packets are of IP.
const ethernetBytes = 14

// limitRate has an interface send at the link's bandwidth. A packet leaves once
// there are tokens for all of it, and there are never more of them than for one
// packet of burst bytes; longer ones are dropped. (The kernel's log warns that
// the MTU is longer than that. Nobody sends such packets.)
func limitRate(name string, burst int) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("limit the rate of %s: %w", name, err)
	}
	request := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(l.Attrs().Index), Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT})
	request.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("tbf")))
	request.AddData(withoutEthernet())

	const queue = 64 << 10 // bytes, more than a message's knocks
	parameters := nl.TcTbfQopt{Limit: queue}
	parameters.Rate.Rate = bitsPerSecond / 8
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, parameters.Serialize())
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(uint32(burst)))
	request.AddData(options)

	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("limit the rate of %s (the kernel needs sch_tbf): %w", name, err)
	}
	return nil
}

// withoutEthernet is a qdisc's size table without a table: a frame counts for
// its length and this overhead. netlink's Tbf has none, hence the request above.
func withoutEthernet() *nl.RtAttr {
	const stabBase = 1          // TCA_STAB_BASE
	var sizeSpec [6 * 4]byte    // struct tc_sizespec
	overhead := sizeSpec[4:8:8] // after two logarithms and an alignment
	nl.NativeEndian().PutUint32(overhead, 1<<32-ethernetBytes)
	sizes := nl.NewRtAttr(nl.TCA_STAB, nil)
	sizes.AddRtAttr(stabBase, sizeSpec[:])
	return sizes
}

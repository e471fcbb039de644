package knocktime

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ethernetBytes is the size of a frame's header, which does not count: the model
// has IP packets.
const ethernetBytes = 14

// limitRate limits an interface to the bandwidth of the link. A packet leaves when
// there are tokens for all of its bytes. There are at most tokens for one packet
// of burst bytes; longer packets are dropped. (The kernel's log warns that the MTU
// is longer than that, but no program here sends such packets.)
func limitRate(name string, burst int) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("limit the rate of %s: %w", name, err)
	}
	request := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	request.AddData(&nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(l.Attrs().Index),
		Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
	})
	request.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("tbf")))
	request.AddData(withoutEthernet())

	const queue = 64 << 10 // bytes, more than the knocks of a message
	parameters := nl.TcTbfQopt{Limit: queue}
	parameters.Rate.Rate = bitsPerSecond / 8
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, parameters.Serialize())
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(uint32(burst)))
	request.AddData(options)

	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("limit the rate of %s (requires sch_tbf in the kernel): %w", name, err)
	}
	return nil
}

// withoutEthernet returns a qdisc's size table that has no table, but only an
// overhead: it is added to the length of each frame. Package netlink's Tbf has no
// size table, therefore the request above.
func withoutEthernet() *nl.RtAttr {
	const stabBase = 1          // TCA_STAB_BASE
	var sizeSpec [6 * 4]byte    // struct tc_sizespec
	overhead := sizeSpec[4:8:8] // after two logarithms and an alignment
	nl.NativeEndian().PutUint32(overhead, 1<<32-ethernetBytes)
	sizes := nl.NewRtAttr(nl.TCA_STAB, nil)
	sizes.AddRtAttr(stabBase, sizeSpec[:])
	return sizes
}

package xdp

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Probed is what Probe finds out about this host.
type Probed struct {
	Tracks  bool // the program can look up the kernel's flows (Program.Tracks)
	LooksUp bool // it has to, because the host translates addresses (Program.LooksUp)
}

// Probe reports whether this process could load the shield: it loads and closes one
// with small arrays, attached to nothing. The error wraps ErrPrivilege, ErrKernel or
// ErrProcessor if that is the cause.
func Probe() (found Probed, err error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlock it: the thread ends
		if err = dropOthers(); err == nil {
			found, err = probe()
		}
	}()
	<-ended
	return found, err
}

func probe() (found Probed, err error) {
	p, err := Load(Sizes{Clients: 1, Slots: minSlots})
	if err != nil {
		return found, err
	}
	defer p.Close()
	memory, err := unix.Mmap(p.arrays["settings"].FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return found, fmt.Errorf("map an array of the shield: %w: %w", ErrKernel, os.NewSyscallError("mmap", err))
	}
	unix.Munmap(memory)
	return Probed{Tracks: p.Tracks(), LooksUp: p.LooksUp()}, nil
}

// dropOthers leaves this thread the capabilities with which a holder loads the program:
// with more of them, the kernel may accept more.
func dropOthers() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	const low, high = 1 << unix.CAP_NET_ADMIN, 1 << (unix.CAP_BPF % 32)
	if data[1].Permitted&high == 0 {
		data[0].Effective &= low | 1<<unix.CAP_SYS_ADMIN
	} else {
		data[0].Effective &= low
	}
	data[1].Effective &= high
	return os.NewSyscallError("capset", unix.Capset(&header, &data[0]))
}

// Interface is the state of an interface before Attach.
type Interface struct {
	// Mode is the mode that the program would get, as the driver announces; 0: the
	// kernel does not report it (before Linux 6.3). The driver can still refuse, for
	// instance a large MTU: then the mode is Generic.
	Mode Mode
	// Program is the number of the XDP program that is attached. 0: there is none, or
	// several.
	Program ebpf.ProgramID
	// Owner is whose program this is. With one, Attach returns ErrBusy.
	Owner Owner
}

// Owner is whose XDP program an interface has.
type Owner uint8

const (
	NoOwner      Owner = iota // there is no program
	UnknownOwner              // this process may not read programs, which requires CAP_SYS_ADMIN; or there are several
	ThisPackage               // it is the program of this package
	OtherOwner
)

// ownerOf finds out whose a program is, by the names that Load gives.
func ownerOf(id ebpf.ProgramID) Owner {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return UnknownOwner
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return UnknownOwner
	}
	if !slices.Contains([]string{nativeFlows, nativePorts, genericFlows, genericPorts}, info.Name) {
		return OtherOwner
	}
	maps, _ := info.MapIDs()
	for _, id := range maps {
		if m, err := ebpf.NewMapFromID(id); err == nil {
			of, err := m.Info()
			m.Close()
			if err == nil && of.Name == "identifiers" {
				return ThisPackage
			}
		}
	}
	return OtherOwner
}

// ProbeInterface reports on an interface of the thread's network namespace. It changes
// nothing, and requires no privilege, except for the owner of a program. The error wraps
// ErrEthernet if that is the cause.
func ProbeInterface(name string) (Interface, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Interface{}, fmt.Errorf("find the interface %s: %w", name, err)
	}
	var i Interface
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		i.Program = ebpf.ProgramID(x.ProgId)
		i.Owner = ownerOf(i.Program)
	}
	if !ethernet(l) {
		return i, fmt.Errorf("the interface %s: %w (it has type %q)", name, ErrEthernet, l.Attrs().EncapType)
	}
	i.Mode = announced(l.Attrs().Index)
	return i, nil
}

// The generic netlink family of network devices (linux/netdev.h).
const (
	netdevFamily      = "netdev"
	netdevGet         = 1
	netdevIndex       = 1
	netdevXDPFeatures = 3
	netdevXDPBasic    = 1 << 0
)

// announced returns the mode that a driver announces.
func announced(index int) Mode {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return 0
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	// nl.Genlmsg has no field for the reserved bytes, sends others instead, and the
	// kernel then rejects the request.
	request.AddRawData([]byte{netdevGet, 1, 0, 0})
	request.AddRawData(nl.NewRtAttr(netdevIndex, nl.Uint32Attr(uint32(index))).Serialize())
	replies, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(replies) != 1 || len(replies[0]) < nl.SizeofGenlmsg {
		return 0
	}
	attributes, err := nl.ParseRouteAttr(replies[0][nl.SizeofGenlmsg:])
	if err != nil {
		return 0
	}
	for _, a := range attributes {
		if a.Attr.Type&nl.NLA_TYPE_MASK == netdevXDPFeatures && len(a.Value) >= 8 {
			if binary.NativeEndian.Uint64(a.Value)&netdevXDPBasic != 0 {
				return Native
			}
			return Generic
		}
	}
	return 0
}

package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is where the program of an interface runs.
type Mode uint8

const (
	Native  Mode = iota + 1 // in the driver
	Generic                 // in the kernel, after it has made an skb: slower
)

func (m Mode) String() string {
	switch m {
	case Native:
		return "native"
	case Generic:
		return "generic"
	}
	return "unknown"
}

// Link is the program at an interface. The kernel detaches it when the last descriptor
// of the link is closed, however that comes about.
type Link struct {
	link link.Link
	mode Mode
}

// Attach attaches the program to an interface of the thread's network namespace, in the
// driver if that is possible. The error wraps ErrEthernet, ErrBusy or ErrPrivilege if that
// is the cause. It requires CAP_NET_ADMIN.
func (p *Program) Attach(index int) (*Link, error) {
	there, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("attach the shield to interface %d: %w", index, err)
	}
	name := there.Attrs().Name
	if !ethernet(there) {
		return nil, fmt.Errorf("attach the shield to %s: %w (it has type %q)", name, ErrEthernet, there.Attrs().EncapType)
	}
	l, err := attach(p.native, index, link.XDPDriverMode)
	if err == nil {
		return &Link{l, Native}, nil
	}
	if errors.Is(err, ErrBusy) {
		return nil, fmt.Errorf("attach the shield to %s: %w", name, err)
	}
	l, genericErr := attach(p.generic, index, link.XDPGenericMode)
	if genericErr != nil {
		return nil, fmt.Errorf("attach the shield to %s: %w (and natively: %w)", name, genericErr, err)
	}
	return &Link{l, Generic}, nil
}

func ethernet(l netlink.Link) bool { return l.Attrs().EncapType == "ether" }

func attach(program *ebpf.Program, index int, mode link.XDPAttachFlags) (link.Link, error) {
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index, Flags: mode})
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, unix.EPERM):
		return nil, explain(err)
	}
	return l, err
}

// Mode returns where the program runs.
func (l *Link) Mode() Mode { return l.mode }

// Lost reports whether the program is no longer attached: the interface is gone, or an
// administrator has detached the link.
func (l *Link) Lost() bool {
	info, err := l.link.Info()
	return err != nil || info.XDP() == nil || info.XDP().Ifindex == 0
}

// Close detaches the program.
func (l *Link) Close() error { return l.link.Close() }

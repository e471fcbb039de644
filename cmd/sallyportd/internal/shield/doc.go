// Package shield keeps the program of package xdp attached, in the holder, for one
// server.
//
//	Load       loads the program and its arrays, which the holder passes to the server
//	Attach     attaches it, after the holder has closed the Shield before
//	  select   the interfaces that get the program: those of the configuration, or those
//	           by which the server's addresses are reached
//	  reconcile  attaches, detaches, and passes the own addresses to the program; again
//	           at the kernel's events of links and addresses (hostevents), and every few
//	           seconds: another program may have had the interface
//	State      where it is attached
//	Close      detaches it everywhere
//
// The kernel also detaches the program when the holder dies, because the links of bpf
// are descriptors of the holder.
//
// An interface without an Ethernet header (a tunnel) is left out, because the program
// reads Ethernet frames. By default an interface that belongs to a bridge or a bond is
// left out too: frames for this host arrive at the bridge or the bond. So is one where
// only containers of this host are: the program would copy each packet that they send,
// and a driver of veth pairs would no longer segment them late.
//
// The program takes frames for pairs of an own address and an own hardware address.
// All own addresses are paired with the hardware addresses of all interfaces that have
// the program, and with that of the interface that has them (a bridge, for a program on its
// port): Linux accepts a packet for any of its addresses at any interface. A frame that
// is bridged or forwarded has another hardware address or another destination.
package shield

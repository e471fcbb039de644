// Package guard tells every process of a network namespace whether some process
// guards the firewall's table: watches it, and makes it anew.
//
//	Take    this process guards the table from now on; one at a time
//	Alive   whether some process does
//
// The sign is a netlink socket: of the netfilter protocol, with a port of our own
// range, and a member of a multicast group. To join one requires CAP_NET_ADMIN in
// the namespace, so no local user can give the sign; and the port is drawn at
// random from a million, so none can hold it first. The kernel takes the socket
// away when its process ends, however that dies. /proc/net/netlink shows the
// sockets of the reader's own namespace, to everybody: neither the file system of
// a container nor its process identifiers matter.
//
// Linux only.
package guard

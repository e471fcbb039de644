// Package guard shows every process of a network namespace whether some process
// guards the firewall's table: a guard watches the table, and makes it again after
// changes by other programs.
//
//	Take    this process guards the table from now on; one at a time
//	Alive   reports whether some process does
//
// The sign is a netlink socket: of the netfilter protocol, with a port of our
// range, and a member of a multicast group. Joining the group requires
// CAP_NET_ADMIN in the namespace, so no local user can fake the sign; and the port
// is random among a million, so no local user can occupy it first. The kernel
// closes the socket when its process ends, for whatever reason. /proc/net/netlink
// shows the sockets of the reader's namespace to every process: neither the file
// system of a container nor its process identifiers matter.
//
// Linux only.
package guard

// Package capture receives the empty packets of the challenge–response protocol, and
// sends its challenges (deGraaf, Aycock, Jacobson 2005, sections 3 and 6.3).
//
//	packetSource   AF_PACKET sockets, one for IPv4 and one for IPv6. The kernel's
//	               filter (rule.program) accepts what the rule does: whole and
//	               empty UDP packets, for this host, to the range. The ports stay
//	               closed
//	socketSource   or a UDP socket for each port, whose filter accepts empty
//	               datagrams. A port that another program has is tried again
//	  -> recvmmsg   up to 64 at a time, each with its time of arrival (udp)
//	  -> parse      the same rule again; impossible addresses; Packet
//	  -> capturer   a packetSource of a server runs in a separate process (Serve),
//	                which hands batches over
//	  -> capturerSource, in the server
//	  -> Sink
//	Answer <-       one datagram back, from the port that received the packet: by a
//	                raw socket, or the bound one
//
// A packetSource also receives packets that the host's firewall drops or rejects
// later. It removes no packet, and changes no answer of the kernel. Only Answer
// sends anything.
//
// Each packet socket has a goroutine; all bound sockets share one. One goroutine
// at a time calls the Sink. Packets that arrive meanwhile wait in the queues of
// the sockets, which drop packets when they are full: Stats counts them. A capturer
// waits while its connection to the server is full. Nothing is allocated for a
// packet.
//
// # Why a separate process
//
// Packet and raw sockets require CAP_NET_RAW when they are opened, and never again.
// Their filters are locked before the first packet arrives (SO_LOCK_FILTER), and the
// capability is dropped. But the descriptors alone still give much of what the
// capability gives (tried on Linux 6.18, as a user without capabilities): a packet
// socket sends any frame on any interface, makes an interface promiscuous, and binds
// another protocol, although it reads only what its filter accepts; a raw socket
// accepts IP_HDRINCL, and then sends packets of any protocol with any source address.
// No option of the kernel takes the sending away: shutdown(2) is not supported by
// packet sockets.
//
// So the server, which parses strangers' messages and holds the state of exchanges,
// does not get the descriptors. A process without capabilities has them, of which
// other processes of its user cannot take them (PR_SET_DUMPABLE). It reads headers
// that the kernel's filter has accepted, and messages of the server of fixed sizes.
// It answers only a packet that has arrived, by its number, to the packet's source,
// with at most the bytes of a challenge, and each packet once. The cost is one copy
// and one hand-over for each batch: 70 ns a packet in full batches (BenchmarkCapturer,
// Intel Xeon, Linux 6.18), beside some 600 ns of the kernel's own path.
//
// # Why not NFLOG
//
// The firewall logs that the paper's server reads are NFLOG today: the rule "log
// group" hands copies of packets to a netlink socket. It would be one more source
// here. It was tried (Linux 6.18: a socket that has bound its group receives
// unconditionally, also after its process has dropped all capabilities), and is not
// built:
//   - It requires CAP_NET_ADMIN to bind the group, which is more than CAP_NET_RAW, and
//     a rule in the administrator's rules. The rule decides which packets arrive, so
//     the server cannot verify that all do.
//   - It does not replace CAP_NET_RAW: answers from closed ports require a raw socket.
//   - It sees less: packets that an earlier hook drops (raw, prerouting, an ingress
//     chain) do not reach the rule, and a packet socket receives them.
//   - A message has 148 bytes for a packet of 28, and the kernel copies each through a
//     netlink buffer, which it grows and flushes by a timer (up to a second, unless
//     the threshold is 1).
package capture

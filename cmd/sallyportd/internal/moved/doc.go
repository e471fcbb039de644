// Package moved passes connections of proxies from a server that stops to the next one,
// through the store of descriptors of the service manager (package systemd).
//
//	Store  a sealed file with the table of the connections -> the store
//	       both sockets of each connection                 -> the store
//	       a barrier: the store has them, this process may end
//	Take   the descriptors of the store: those of the table, and of no other
//	       origin; the others are closed
//
// All have one name, with the version of the table: a server of another release closes
// the descriptors that it does not know. The names, which other users of the host can read,
// have no data of clients; the table, which they cannot read, has the identifiers. A socket
// belongs to its row by its cookie, which the kernel gives to each socket once: a made-up
// name, or another socket, matches no row.
//
// The next server must remove the descriptors from the store (Remove) before it carries the
// connections on: if it crashed, the server after it would otherwise get connections of
// which bytes are lost. Nothing is carried on if it cannot.
package moved

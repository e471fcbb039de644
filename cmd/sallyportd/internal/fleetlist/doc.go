// Package fleetlist makes the list of clients in etcd (sessions/fleet/roster) look like a
// clients file: an entry is one line of it, with its own identifier.
//
//	Edit, Remove, EditAll, Import   a command -> lines -> entries -> etcd
//	Read                            the lines: of the copy if it is the list in etcd, by one
//	                                read, or else from etcd
//	Start                           the copy -> the clients with which a server starts;
//	                                without one, it waits for etcd
//	Follow                          etcd -> entries -> the copy, and the server
//
// The copy is a clients file in the state directory, whose first line names the list. The
// server writes it, and starts with it: otherwise a start without etcd would take an empty
// list for a removal of all clients. A list that the server cannot parse is refused, and
// the copy stays; but the clients that the list lacks lose their rights (Change).
//
// Comments are not in the list; the note of a client is. The lines in the copy are in the
// order of their identifiers.
//
// Follow owns the copy; while the disk is full, it holds the text in memory and tries to
// write it again. A reload reads the newest text from wherever it is (Copy.Load).
package fleetlist

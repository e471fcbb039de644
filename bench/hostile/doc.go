// Package hostile sends invalid datagrams to the shipped server in large numbers, and
// counts them at the server.
//
//	Run       a server, and another host that is joined to it by a cable
//	  classes each class of an invalid datagram, known identifiers with wrong MACs,
//	          replays of knocks that have opened a service, and those with one
//	          changed bit
//	  piece   a number of datagrams of each class: the growth of the server's counters
//	          must be that number, and no grant may be reported
//	Totals    the sum of all pieces so far, in a file
//
// The kernel's filter is off, so that all datagrams go through the sockets to the
// process. Linux only, except for Totals.
package hostile

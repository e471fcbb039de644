// Package clients reads and changes the clients file: a line a client, as in
// the paper's Listing 4.
//
//	Load    file -> List, for the server: all of it is valid, or an error names
//	        the line
//	Parse   text -> lines, with comments
//	Edit    a change of the file under a lock: other changes at the same time
//	        are neither lost nor mixed in, and comments stay
//	State   what the file is now, to notice that it has changed
//
// A List holds every client's secret as it stands in the file. It is handed on
// as an argument of its own, so that no closure keeps it by accident.
package clients

// Package clients reads and changes the clients file: a line a client, as in
// the paper's Listing 4.
//
//	Read    file -> List, for the server: all of it is valid, or an error names
//	        the line; and whether the file may not be whole
//	Load    Read, of the List alone
//	Parse   text -> lines, with comments
//	Edit    a change of the file under a lock: other changes at the same time
//	        are neither lost nor mixed in, and comments stay
//	Remove  takes a client out, whatever is wrong with the rest
//	State   what the file is now, to notice that it has changed
//	Watch   when to read it, as a function of its State and the time
//
// A List holds every client's secret as it stands in the file. It is handed on
// as an argument of its own, so that no closure keeps it by accident.
package clients

// Package clients reads and changes the clients file, which has one line for each
// client, as in the paper's Listing 4.
//
//	Read    file -> List, for the server. The whole file must be valid, or an error
//	        names the line. Read also reports whether the last line is complete
//	Load    Read, but only the List
//	Parse   text -> lines, with comments
//	Edit    changes the file under a lock: concurrent changes are neither lost nor
//	        mixed, and comments stay
//	Remove  removes a client, even if the rest of the file is invalid
//	State   the state of the file, to detect a change
//	Watch   when to read the file, as a function of its State and the time
//
// A List contains all clients' secrets as in the file. Functions pass it as a
// separate argument, so that no closure keeps it by accident.
package clients

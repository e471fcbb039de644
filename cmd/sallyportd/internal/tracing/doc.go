// Package tracing explains to the administrator why the knocks of one client are refused,
// or the exchanges of one operation.
//
//	ingest.Trace      a refused datagram, and by which secret it is signed  -> Refused
//	sessions.Trace    an authenticated knock, a complete attempt            -> Decided, Granted
//	handshakes.Trace  an exchange                                           -> Exchanged
//	carried.Trace     one over HTTP or DNS                                  -> Carried
//	  -> budget       of each kind: at most three lines at once, and one a second
//	  -> queue        one of authenticated events, and one of the others
//	Run               the next of a queue -> an admin.TraceLine in words; attempts
//	                  that stay incomplete; at the end the totals
//
// A kind is what happened with its reason, and whether it is authenticated. So a flood of
// forged datagrams, or of one client's datagrams that another host sends again, takes
// lines of that kind only. The trace counts the events without a line.
//
// The goroutines of the server's hot path call Refused, Decided, Granted and Exchanged:
// these allocate nothing, wait for a short lock at most, and drop when a queue is full.
// Everything is allocated when the trace begins. Run, and the reader behind it, may be as
// slow as they like.
package tracing

// Package web receives the messages of the challenge–response protocol in DNS queries
// (deGraaf, Aycock, Jacobson 2005, section 7.3), and answers all others as the
// server of a zone without names. verify/challenge/CARRIERS.md is the specification.
//
//	UDP socket, TCP connections
//	  -> Responder.answer   the query (dnsmessage), its zone, its label
//	       -> carrier       the label -> a part of a message
//	       -> receiver      parts -> messages
//	       -> Exchanges     a request -> its challenge; a response
//	       -> budget        the answers of a second, in sum; those with a challenge apart
//	  <- the challenge, or an answer as to a stranger; never more than Amplification
//	     times the query over UDP: instead the bit TC, and a resolver asks over TCP
//
// Who owns what: each UDP socket has Config.Readers goroutines, and each TCP connection
// has one; all call answer, which is safe for concurrent use. Only messages of several
// parts take a lock. A socket belongs to the DNS that was given it, and Close closes it.
//
// When something is full: the kernel drops at a full socket queue; a query beyond the
// budget gets no answer, but its part counts; a connection beyond Config.Connections
// takes the place of the one that has been silent longest; a message in parts takes the
// place of the oldest of its entries (carrier.Assembler). Nothing is logged for a
// query, and no memory grows with traffic.
package web

// Package web receives the messages of the challenge–response protocol in DNS queries
// and HTTP requests (deGraaf, Aycock, Jacobson 2005, section 7.3). All other queries get
// the answers of a zone without names, all other requests those of a site.
// verify/challenge/CARRIERS.md is the specification.
//
//	DNS    UDP sockets, TCP connections
//	  -> responder.answer   the query (dnsmessage), its zone, its label
//	       -> carrier       the label -> a part of a message
//	       -> receiver      parts -> messages; a request for an address has an address
//	       -> Exchanges     a request -> its challenge; a response
//	       -> budget        the answers of a second, in sum; those with a challenge apart
//	  <- the challenge, or an answer as to a stranger; never more than Amplification
//	     times the query over UDP: instead the bit TC, and a resolver asks over TCP.
//	     Queries beyond the budget get that bit alone
//
//	Server  TCP connections -> net/http
//	HTTP   a handler around the site
//	  -> carrier            the path of a GET, the body of a short POST -> parts
//	       -> Proxies       the client's address, through the trusted proxies
//	       -> receiver, with a share of the requests for each source
//	       -> Exchanges         as above, and without a budget
//	       -> Tunnels       an upgrade with a ticket -> a connection for a service
//	  <- the page of a challenge, a tunnel, or else the site's own answer; behind another
//	     web server a status by which that server knows that the answer is its own
//
// Who owns what: each UDP socket has DNSConfig.Readers goroutines, each with a batch of
// queries that one system call reads, and each TCP connection has one; net/http has one
// for each connection or stream. All call answer or ServeHTTP, which are safe for
// concurrent use. Only messages of several parts take a lock. Sockets and listeners belong
// to the DNS that was given them, or to Run.
//
// When something is full:
//
//	socket queue   the kernel drops
//	budget         a query beyond it gets only the bit TC, which has another budget; its
//	               part counts
//	share          a request over HTTP beyond that of its source gets the site's answer,
//	               and does not reach the Exchanges
//	connections    one more takes the place of the one that has been silent longest, of
//	               the same address if that has an eighth of all; never that of a tunnel
//	tunnels        one more is closed, with a reason for its client, and has no place
//	               while it waits for that
//	Assembler      a message in parts takes the place of the oldest of its entries
//
// Nothing is logged for a query or a request, and no memory grows with traffic.
package web

// Package carriers floods the listeners that receive exchanges in HTTP requests and DNS
// queries, and measures how many honest exchanges succeed over the same listeners.
//
//	Run        a server's host and another, connected by a link; on the first
//	           sallyportd, on one core
//	  Scenario nothing; HTTP requests or DNS queries of strangers, with messages of
//	           operations that do not exist, or with requests for one that does
//	  honest   clients with different addresses: one exchange each, without a retry;
//	           visitors of the site; clients that knock by UDP
//	Result     how many of them succeeded in time; what the server answered
//	Compare    two distributions of times: BenchmarkStrangers compares the answers of a
//	           site with operations with those of one without
//
// The messages of honest clients ride inside the flood, picked by the number of its
// requests: the goroutine that writes the flood writes them too, and so does the packet
// socket that sends the queries. Only TCP's handshakes come from other goroutines. The
// generator and the server use different cores; the sender's core processes the packets
// that the server receives.
//
// An exchange over HTTP succeeds if its address is granted within a second. The server
// reports no address for exchanges over DNS: those are counted that it has verified.
// Linux only, except for Result and Compare.
package carriers

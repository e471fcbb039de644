// Package carriers is the client's side of the carriers of the challenge–response
// protocol: it sends a message of an exchange in an HTTP request or in DNS queries, and
// returns the challenge (verify/challenge/CARRIERS.md).
//
//	carrier.Message
//	  -> HTTP.Request   a POST to each address of the server; then GETs of paths
//	  -> DNS.Request    queries for TXT records, by the system's resolver; to the zone's
//	                    servers; and both over TCP
//	  -> race           the next of these ways begins when one fails, or is silent for a
//	                    while; the first challenge that the caller accepts ends it
//	  <- nil, or a Fault: an answer of another host, or none
//
// Nothing here is authenticated. Each answer may come from a host between the client and
// the server, so the caller decides by its keys whether to accept a challenge. A Fault has
// facts only; package client explains them.
//
// An HTTP or a DNS may be used by several goroutines.
package carriers

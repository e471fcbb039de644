// Package carriers is the client's side of the carriers of the challenge–response
// protocol: it sends a message of an exchange in an HTTP request or in DNS queries, and
// returns the challenge (verify/challenge/CARRIERS.md).
//
//	carrier.Message
//	  -> HTTP.Request   a POST; GETs of paths, if a proxy or the site refuses a POST
//	  -> DNS.Request    queries for TXT records, by the system's resolver; then to the
//	                    zone's servers
//	  <- challenge, or a Fault: an answer of another host, or none
//
// Nothing here is authenticated: the caller checks the challenge, and each answer may
// come from a host between the client and the server. A Fault has facts only; package
// client explains them.
//
// An HTTP or a DNS may be used by several goroutines.
package carriers

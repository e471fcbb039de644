// Package connecttime measures how long a person waits: from the last knock, or from the
// start of "sallyport connect", to the first byte of the service, beside a plain TCP
// connection to an open port of the same host.
//
//	Run        for each link, each server, and each of its services, in turn
//	  link     the loopback; a veth; a veth whose frames a relay delays by 10 ms in
//	           each direction, the same for all columns
//	  server   sallyportd with sockets only; the same without CAP_NET_ADMIN; and
//	           with the firewall. Strict durability. A client for each service, whose
//	           profile "sallyportd client add" has written
//	  try      a plain connection
//	           client.Knock, from its last knock (or request) to the first byte
//	           "sallyport connect", from its exec to the first byte; its nonces too
//	           are on the disk before it knocks
//	           no lease is in force before each of the last two
//	Result     differences from the plain connection, beside what may remain of them
//
// A service that speaks first sends a line. At a web service the client speaks first,
// and its request is sent at once.
//
// Linux only, except for Result.
package connecttime

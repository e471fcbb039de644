// Package handshakes holds the server's unfinished exchanges of the
// challenge–response protocol, in a table of fixed size.
//
//	an empty packet's source and destination, now
//	  -> bucket      by xxhash of the source address, or its /64, with a random seed
//	  to a port of requests
//	    -> slot      of the address and source port; and one for any port, once an
//	                 address has used two: some NATs change the port with each packet
//	    -> Requested -> limit.Rate, or its Reserve for addresses of known clients
//	                 -> challenge: the nonce, the port -> Answer
//	  to a port of responses
//	    -> slots     that wait for a response, of the source port, or of any
//	    -> Verified  -> OnProof
//	  to a port of both (receiveShared)
//	    -> the slot that expects it, as above; or else as a packet of a request
//	Turn           -> the kinds of requests of the live minutes, if ports hop
//	Sweep          -> exchanges that have expired: counted if packets were lost
//
// SetTrace reports what becomes of the requests and wrong responses, for the
// administrator.
//
// Package exchange decodes the packets and verifies the messages; this package
// decides which exchanges get a slot. A Table belongs to the goroutine that calls
// Receive, Turn and Sweep, or to several that take turns under a lock; any goroutine may
// call Stats and Update. A packet allocates nothing and takes no lock here. When a
// bucket is full, the slot with the lowest priority is evicted (see priority), and its
// client must start over. An operation and a /64 have at most a share of the table:
// see oldestBeyondShare and bucketOf.
package handshakes

// Package exchanges holds the exchanges of the challenge–response protocol on
// the server's side, in a table of fixed size.
//
//	an empty packet's source and destination, now
//	  -> bucket      by xxhash of the source address, or its /64, under a random seed
//	  to a port of requests
//	    -> slot      of the address and source port; and one for any port, once
//	                 an address has used two: some NATs give each packet another
//	    -> Requested -> limit, or the reserve of addresses that were proved before
//	                 -> challenge: the nonce, the port -> Answer
//	  to a port of responses
//	    -> slots     that hold a challenge, of the source port, or of any
//	    -> Granted   -> Grant
//
// What a slot comes to is package exchange's; here is who gets one. A Table
// belongs to the goroutine that calls Take; only Stats and Update may be called
// by others. A packet makes nothing that lasts, and takes no lock. When a bucket is full,
// the slot goes that least deserves to stay: see rank. Its client starts over.
// No operation, and no /64, has more of the table than its share: see beyondShare
// and bucketOf.
package handshakes

// Package proofs measures what the proof of a connection costs (bind = "connection"):
// a proxy whose connections prove themselves, beside one whose connections do not. Both
// are services of one sallyportd, and have the same upstream.
//
//	Run        three servers: with the state in memory (tmpfs); the same with relaxed
//	           durability, so that no connection waits for a record; with the state on
//	           the disk. For each measurement, window after window, the two services of
//	           a server in turn
//	  short    connect, prove, a byte in each direction, close: 1 or 64 at a time
//	  bulk     bytes over a few long connections, in one direction
//	Result     connections or bytes a second, and the server's processor time for each
//	           connection, as medians; ratios and differences of two neighbours
//
// A server runs on one core. The client and the upstream are this process, which uses the
// other cores. It takes nonces from memory: the disk and the processor time of a client
// are not measured.
//
// Linux only, except for Result.
package proofs

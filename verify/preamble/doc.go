// Package preamble is the codec of the handshake with which a TCP connection proves
// that it belongs to a client, before a hidden service gets a byte of it (deGraaf,
// Aycock, Jacobson 2005, section 7.1). PROTOCOL.md beside this file is the
// specification; testdata/vectors.json its test vectors.
//
//	client:  NewClient -> Preamble                        48 bytes ->
//	server:  Parse, MAC, nonce unused -> Answer        <- 48 bytes
//	client:  Client.Answer: the server is authentic       32 bytes ->
//	server:  the proof is right, the nonce is on disk: bytes pass
//
// A Preamble is only parsed: package verify makes an authenticated one of it. The
// Append…Message functions return the messages that a secret signs. So a device that
// holds the secret, and only computes HMACs, can take part: see MAC.
//
// The package does no I/O and does not retain its input. A Client belongs to one
// goroutine; all else is safe for concurrent use.
package preamble

// Package wire is the codec of the sequence protocol's only message, the
// 48-byte Knock (paper, section 4). PROTOCOL.md beside this file is the
// specification; testdata/vectors.json its test vectors.
//
//	client:  Knock{…}.Sign(secret) -> AppendBinary -> datagram
//	         or SignClosing, for a knock that closes; the secret is the client's, or
//	         its GatewayKey for one of several servers
//	server:  datagram -> Parse -> Knock (parsed, not authenticated)
//
// A Knock is only parsed: nothing in it may be trusted before package verify
// has checked its MAC and turned it into a verify.Knock. The package does no
// I/O, has no state and does not retain its input, so all of it is safe for
// concurrent use.
package wire

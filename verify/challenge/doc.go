// Package challenge encodes messages in the destination ports of empty packets
// (deGraaf, Aycock, Jacobson 2005, section 6.3). PROTOCOL.md beside this file is
// the specification, testdata/vectors.json its test vectors.
//
//	Plan      the encodings of requests and responses, and the ports that they may use:
//	          separate ones, or the same (shared.go)
//	Encoding  one of four schemes, and its numbers -> Codec, for one size of message
//	  message -> AppendPorts -> ports, in the order of sending
//	  ports, in the order of arrival -> Decoder.Add -> incomplete, complete, impossible
//	                                 -> AppendMessage -> message
//	Prefix    which packets can belong to a message with a given beginning
//
// Package paper has the rows of the paper's tables, with a Plan for each.
//
// This package does not send, receive or read a clock. A Codec and a Prefix are
// immutable. A Decoder belongs to one goroutine; its memory is allocated when it
// is made, and a packet allocates nothing. A decoded message is not
// authenticated.
package challenge

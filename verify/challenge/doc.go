// Package challenge says data in the ports of empty packets (deGraaf, Aycock,
// Jacobson 2005, section 6.3). PROTOCOL.md beside this file is the
// specification, testdata/vectors.json its test vectors.
//
//	Plan      the encodings of requests and responses, against the ports there are
//	Encoding  one of four schemes, and its numbers -> Codec, for one size of message
//	  message -> AppendPorts -> ports, in the order of sending
//	  ports, as they come -> Decoder.Take -> incomplete, complete, impossible
//	                      -> AppendMessage -> message
//	Prefix    which packets can belong to messages that begin in some way
//
// Nothing here sends, receives or looks at a clock. A Codec and a Prefix are
// immutable. A Decoder belongs to one goroutine; its memory is fixed when it is
// made, and a packet makes none. What is decoded is authenticated by nothing.
package challenge

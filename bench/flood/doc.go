// Package flood sends streams of datagrams over a link, at the maximum speed or at
// a given rate.
//
//	Link.Frame      a datagram as a frame on the link, from any source
//	Stream          frames that are sent repeatedly, and honest frames among them
//	                that are sent once each, at positions that depend only on
//	                the number of frames
//	Generator       plays a Stream: NewPacket with sendmmsg on a packet socket,
//	                NewXDP in the kernel (requires privileges of the host)
//
// Honest frames go through the same queue as the others, without an advantage. A
// separate client or a timer would send in the pauses of the flood.
//
// The number of frames that a generator has sent is not the number that arrived:
// the receiver must count those. The package uses only networks whose interface
// index the caller gives, and callers give only interfaces that they created (see
// package netns). Linux only, except for the frames.
package flood

// Package flood plays streams of datagrams into a link, as fast as it goes or
// at a rate.
//
//	Link.Frame      one datagram as it crosses the link, from any source
//	Stream          frames that are sent over and over; among them, picked by
//	                their count alone, honest ones that are sent once each
//	Generator       plays a Stream: NewPacket with sendmmsg on a packet socket,
//	                NewXDP in the kernel (takes real privileges)
//
// Honest frames ride in the same queue as the others and have no better chance:
// a client of its own, or a timer, would send in the flood's pauses.
//
// What a generator has sent says nothing about what arrived: that is for the
// receiver to count. Nothing here knows a network that the caller did not name
// by an interface index; callers name only interfaces that they made (see
// package netns). Linux only, but for the frames.
package flood

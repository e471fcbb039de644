// Package tunnel makes a stream of bytes, as of a TCP connection, of the messages of a
// WebSocket. CARRIERS.md in the directory above, "The way in", is the specification.
//
//	Write       -> binary messages of at most MaxMessage bytes
//	CloseWrite  -> an empty binary message: the end of this direction
//	Read        <- pump: one goroutine reads messages, and waits while two are unread,
//	               so that the peer has to wait, too
//	keepalive   -> an empty text message, if nothing was sent for KeepaliveTime
//	Close       -> CloseWrite, and the closing handshake of WebSocket
//	Abort          closes the connection; the peer sees a reset, never an end of file
//
// A Conn has one goroutine, three timers and two buffers of MaxMessage bytes. It ends if
// the peer sends nothing for SilentTime, or takes nothing for StallTime.
package tunnel

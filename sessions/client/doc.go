// Package client knocks. It builds on Linux, macOS and Windows.
//
//	Profile, now
//	  -> NonceFile.Reserve  n nonces, durable before any of them is sent
//	  -> Sequence           the minute's ports and n signed datagrams (pure)
//	  -> send               one socket, back to back
//	  -> watch              does the service answer at the knocked address?
//	     yes: Result        no: again, three attempts in all
//	  -> OfflineError       with what was found out about the reason
//
// The server never answers, so the service itself is the only proof. A Client
// may be used from several goroutines and processes at a time: nonces are
// handed out under a file lock.
package client

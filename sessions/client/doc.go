// Package client implements the client of both protocols. It builds on Linux, macOS
// and Windows.
//
//	Knock                    the sequence protocol: Profile, time of day
//	  -> NonceFile.Reserve   n nonces, durable before the client sends any of them
//	  -> Sequence            the minute's ports and n signed datagrams (pure)
//	  -> send                sends all datagrams from one socket, back to back
//	  -> waitForService      connects to the service until it answers
//	     yes: Result         no: the next attempt, three in all
//	  -> OfflineError        with hints about the cause
//	Exchange                 the challenge–response protocol
//
// The server never replies to a knock: only the service shows that a sequence was
// accepted. Several goroutines and processes may use one NonceFile at a time: it
// reserves nonces under a file lock.
package client

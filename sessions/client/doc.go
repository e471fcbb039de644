// Package client implements the client of both protocols. It builds on Linux, macOS
// and Windows.
//
//	Knock                    the sequence protocol: Profile, time of day
//	  -> beginEarly          with CheckBefore: a SYN to the service, without a wait
//	  -> NonceFile.Reserve   n nonces, durable before the client sends any of them
//	  -> Sequence            the minute's ports and n signed datagrams (pure)
//	  -> send                sends all datagrams from one socket, back to back
//	  -> waitForService      connects to the service until it answers
//	     yes: Result         no: the next attempt, three in all
//	  -> OfflineError        with hints about the cause
//	Exchange                 the challenge–response protocol
//
// An answer of the service does not prove that the knock opened it: the service may
// not be hidden, or a lease from an earlier knock may be in force. With CheckBefore, the
// client sends one SYN to the service before the knock, as a scanner would, and closes
// the connection after the first attempt. If that SYN is answered, the service was open
// before (Result.OpenBefore). The knock never waits for it. A hidden service drops or
// rejects the SYN, and the client closes the socket before the kernel sends the SYN
// again. The answer may arrive after the knock: over a long path it always does.
//
// The server never replies to a knock: only the service shows that a sequence was
// accepted. Several goroutines and processes may use one NonceFile at a time: it
// reserves nonces under a file lock.
package client

// Package client implements the client of both protocols. It builds on Linux, macOS
// and Windows.
//
//	Knock                    the sequence protocol: Profile, time of day
//	  -> resolve             the addresses of the server; an attempt goes to each
//	  -> NonceFile.Reserve   n nonces, durable before the client sends any of them
//	  -> Sequence            the minute's ports and n signed datagrams (pure)
//	  -> beginEarly          a SYN to the service, without a wait
//	  -> send                sends all datagrams from one socket, back to back;
//	                         the socket receives ICMP errors for them
//	  -> watcher             begins connections to the service until it answers
//	     yes: Result         no: the next attempt, three in all, unless certain
//	                         that it would fail, too; the second begins with the
//	                         previous minute's ports, the last waits for the next's;
//	                         nonces move ahead, see below
//	  -> OfflineError        with hints about the cause (findings)
//	sendOnly                 all attempts at once, for a service that the client
//	                         cannot watch
//	Exchange                 the challenge–response protocol; the same watcher
//	  -> sendRequest         exchangeConn: empty UDP packets; it remembers the ports.
//	                         Or synConn: SYNs
//	  -> awaitChallenge      a datagram from any of these ports: the network decides
//	                         which packet arrives last, and the server answers that
//	                         one. Or a connection that fetches the challenge
//	  -> Lost                attempts in which packets were lost
//
// A goroutine for each address of an attempt watches there; Knock waits for all of
// them. On Linux the connections are half-open: the program behind the port does not
// see them.
//
// With BindISN, each connection after the knock begins with the initial sequence number
// of its attempt (isn.go). The SYN before the knock has one of the kernel.
//
// An answer of the service does not prove that the knock opened it: the service may
// not be hidden, or a lease from an earlier knock may be in force. On Linux, or with
// CheckBefore, the client sends one SYN to the service before the knock, as a scanner
// would, and closes the connection after the first attempt. If that SYN is answered,
// the service was open before (Result.OpenBefore). The knock never waits for it. A
// hidden service drops or rejects the SYN, and the client closes the socket before the
// kernel sends the SYN again. The answer may arrive after the knock: over a long path
// it always does.
//
// # Nonces
//
// The client does not learn which nonces the server has accepted. The server may have
// higher ones: from another device with the same profile, or from before this device
// got its files back from a backup. Its shield may refuse nonces that are more than
// wire.MaxAhead above the highest one that it has seen, and the client does not know
// whether there is a shield. So a failed attempt has two remedies (noncerecord.go):
//
//   - The next attempts move ahead: by 4,096 above the last nonce that has opened
//     something, then by 65,536, and so on, to less than 2^19. Attempts that fail for
//     another reason, for however long, stay below wire.MaxAhead.
//   - The third attempt, and then each third one, ends with a sequence that goes by the
//     clock: about 2^31 plus the seconds since 2020. Devices with one profile pass each
//     other there, whatever their nonces were. A shield refuses this sequence, unless the
//     server has seen such nonces; it costs the client nothing.
//
// When a sequence by the clock opens the service, the client continues there; as long as
// nothing has confirmed that, it also tries the nonces before, since an earlier sequence,
// or one of another process, may have opened the service. A client that is idle stays
// where it is: the clock moves only sequences that follow failures.
//
// No nonce is sent twice: the record has all used ones, and is on stable storage before
// the sequence is sent. A failure costs 4,096 nonces of 2^32, a series of failures less
// than 2^19, or the seconds that have passed.
//
// The server never replies to a knock: only the service shows that a sequence was
// accepted. Several goroutines and processes may use one NonceFile at a time: it
// reserves nonces under a file lock.
package client

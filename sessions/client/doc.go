// Package client implements the client of both protocols. It builds on Linux, macOS
// and Windows.
//
//	Knock                    the sequence protocol: Profile, time of day
//	  -> resolve             the addresses that the profile names; the resolver's only if
//	                         there are none, or if those do not answer
//	  -> attempt             one race, in a goroutine (race.go):
//	     plan                which address is next, and when (pure)
//	     NonceFile.Reserve   n nonces for each address, durable before the client sends
//	                         any of them; those of all named addresses at once
//	     Sequence            the minute's ports and n signed datagrams (pure)
//	     beginEarly          a SYN to the service, without a wait
//	     send                sends all datagrams from one socket, back to back;
//	                         the socket receives ICMP errors for them
//	     lane                when connections to the service begin, and what their answers
//	                         show (pure)
//	     connector           begins them, and picks the first that stands; closes the others
//	     yes: Result         no: the next attempt, three in all, unless certain
//	                         that it would fail, too; the second begins with the
//	                         previous minute's ports, the last waits for the next's;
//	                         nonces move ahead, see below
//	  -> OfflineError        a reason, what is certain and what is likely: findings of all
//	                         attempts -> symptom of the service, circumstances of this
//	                         computer -> diagnosis (pure)
//	sendOnly                 all attempts, spaced, for a service that the client cannot
//	                         watch; then a wait for ICMP errors
//	Exchange                 the challenge–response protocol; the same plan of addresses
//	  -> sendRequest         exchangeConn: empty UDP packets; it remembers the ports.
//	                         Or synConn: SYNs
//	  -> awaitChallenge      a datagram from any of these ports: the network decides
//	                         which packet arrives last, and the server answers that
//	                         one. Or a connection that fetches the challenge. The first
//	                         challenge from any address counts
//	                         Or carriedConn: the same by HTTPS or DNS (package carriers),
//	                         where the answer to a request is the challenge
//	  -> lane, connector     at the service of that address
//	  -> Lost                attempts in which packets were lost
//
// # Addresses
//
// A sequence goes to the addresses that the profile names, IPv4 and IPv6 in turn, each
// 100 ms after the one before, or at once if an ICMP error shows that this one is dead.
// Addresses that only the resolver gives come after those, one by one: a host that receives
// a sequence can send it to the server's other addresses, where it is valid for about a
// minute, and gets in. Each sequence has its own nonces, so the server accepts all of
// them. Without Keep, Knock and Exchange go on to the other family for a short time after
// the first answer, so that any program gets in over both (Result.Also).
//
// # Connections
//
// The first connection begins a millisecond after the last knock, and the pauses grow: a
// SYN that overtakes the knock, or that arrives before the grant is durable, costs
// little more than the time by which it was early. Connections that are under way go
// on. On Linux they are half-open (halfopen_linux.go): their handshake is complete except
// for the last packet. With Keep, the client sends that one for the first connection that
// stands, and resets the others. So the program behind the port sees one connection, or
// none if the client only watches. On other systems it may see others, which end at once,
// if their answers arrive together.
//
// With Profile.Handshake = "granted", a completed handshake proves that the server has
// let this computer in. Otherwise the server, or a proxy in front of it, may accept the
// connection first and reset it then: so a connection has to prove itself, by the first
// byte of the service, or by lasting for one round trip and a little more (earlyProofTime).
// Knock returns only connections that have: before, nothing of the caller is sent, so a
// reset until then loses and doubles nothing. A connection that only time
// has proved may change to another one in its first moments, until the first byte of the
// service (steady.go has the argument why nothing is lost or doubled by that).
//
// With BindConnection, each connection proves itself by the handshake of package preamble
// (connprover.go), one at a time at each address, each with another nonce. Its preamble is
// made while the client waits for the network. A connection waits for it half-open, or
// another one begins later: the server counts the time from the end of the handshake. The
// answer shows that the server is there, so no other proof is needed, and nothing is sent
// again on another connection. With Keep, the first server that has proved itself gets
// the proof, and the other connections end without one.
//
// A profile may name several gateways (gateway.go). AtGateways makes the profile of each,
// with its key, and Gateways.Try lets one after the other knock: first one attempt each.
// With Split, each sequence goes to all of them, and only the services are tried one after
// the other (split.go).
//
// A Signer may be slow. The race signs in a goroutine, one sequence at a time, and takes
// answers meanwhile.
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
//   - The third attempt, and then each third one and the one after it, ends with a sequence
//     that goes by the clock: about 2^31 plus the seconds since 2020. Devices with one
//     profile pass each other there, whatever their nonces were. A shield refuses this
//     sequence, unless the server has seen such nonces; it costs the client nothing. The
//     server may have received the first one and not been able to record it: then only
//     nonces above it open the service, and the next call finds them with its first attempt.
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

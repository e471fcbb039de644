// Package ingest is the way of a datagram from the kernel to an authenticated
// knock. It opens the ports of the live minutes, reads them in batches, has
// each datagram verified, and hands what is authentic to a Sink. It never
// sends anything.
//
//	rotation     the live minutes -> one table of knock rules (prefilter.Table)
//	  -> tiers   which refuse by it, before this process does: the firewall's
//	  |          knock set; the socket filter
//	  -> ports   sockets opened, closed (udp), set up: receive buffer, steering
//
//	source       datagrams -> batches of up to 64: recvmmsg over sockets. A ring
//	  |          that a driver fills would be one more, with one more shard
//	 reader      takes a source's batches on, on a thread of its own
//	  |
//	 shard       bounded ring of batches -> one drain task in the pool (ants)
//	  |
//	  check      verify.Verifier: cheap checks of a batch, then its HMACs; a
//	  |          counter each
//	 Sink        the few that are authentic
//
// Who owns what:
//   - the rotation goroutine owns the set of ports, and the tables of the
//     tiers; new terms are prepared and put in force there;
//   - a reader is a goroutine on a thread of its own. Its source owns, once
//     added, its sockets: it alone reads and closes them;
//   - each port has one SO_REUSEPORT socket a source and address, so sources
//     share nothing but the port's places, which are replaced whole;
//   - a shard belongs to one reader, which fills its ring, and to at most one
//     drain task at a time, which empties it. A batch is with exactly one of:
//     the free list, the reader, the ring, the task. A source writes into it
//     only while fill runs.
//
// A batch goes on when it is full or nothing more is there to read. While
// batches pile up, one that is not full is held back for up to a millisecond.
//
// A port that closes is shut by a filter that refuses everything, read until it
// is empty, and asked how much the kernel dropped: no datagram is lost
// uncounted.
//
// Terms change in two steps. Prepare does all that can fail, and leaves the old
// terms in force: it opens the new ports, which take nothing yet, and has the
// tiers before the sockets let in what either terms accept. Then commit
// replaces a pointer, and narrows the tiers; or abort does.
//
// When something is full: the kernel drops at a full socket queue, the reader
// drops the batch at a full ring and counts it, the Sink drops and counts
// knocks that it cannot take. Nothing is allocated for a datagram, and no
// memory grows with traffic.
package ingest

// Package ingest is the way of a datagram from the kernel to an authenticated
// knock. It opens the ports of the live minutes, reads them in batches, has
// each datagram verified, and hands what is authentic to a Sink. It never
// sends anything.
//
//	rotation    the live minutes -> wanted ports -> sockets opened, closed
//	  setup     receive buffer, the kernel's filter (prefilter), steering
//	 reader     epoll over all its sockets -> recvmmsg -> batches of up to 64
//	  shard     bounded ring of batches -> one drain task in the pool (ants)
//	   check    verify.Verifier: cheap checks of a batch, then its HMACs; a
//	            counter each
//	    Sink    the few that are authentic
//
// Who owns what:
//   - the rotation goroutine owns the set of ports: which are open, which
//     could not be opened;
//   - a reader is a goroutine on a thread of its own. It owns its epoll
//     instance and, once added, its sockets: it alone reads and closes them;
//   - each port has one SO_REUSEPORT socket a reader and address, so readers
//     share nothing but the port's places, which are replaced whole;
//   - a shard belongs to one reader, which fills its ring, and to at most one
//     drain task at a time, which empties it. A batch is with exactly one of:
//     the free list, the reader, the ring, the task.
//
// A batch goes on when it is full or nothing more is there to read. While
// batches pile up, one that is not full is held back for up to a millisecond.
//
// A port that closes is shut by a filter that refuses everything, read until it
// is empty, and asked how much the kernel dropped: no datagram is lost
// uncounted.
//
// When something is full: the kernel drops at a full socket queue, the reader
// drops the batch at a full ring and counts it, the Sink drops and counts
// knocks that it cannot take. Nothing is allocated for a datagram, and no
// memory grows with traffic.
package ingest

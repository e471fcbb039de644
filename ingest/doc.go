// Package ingest receives datagrams from the kernel and turns them into
// authenticated knocks. It opens the ports of the live minutes, reads them in
// batches, verifies each datagram, and delivers the authentic knocks to a Sink.
// It never sends anything.
//
//	rotation     the live minutes -> one table of knock rules (prefilter.Table)
//	  -> tiers   refuse by that table before this process reads a datagram: the
//	  |          shield at the network driver (xdp), while there is one; the
//	  |          firewall's knock set; the socket filter
//	  -> ports   sockets opened, closed (udp), set up: receive buffer, steering
//
//	source       datagrams -> batches of up to 64: recvmmsg over sockets, or the
//	  |          rings that the shield fills
//	 reader      pushes the batches of a source to its shard, on its own thread
//	  |
//	 shard       bounded ring of batches (Config.Queue) -> one drain task in the pool (ants)
//	  |
//	  check      verify.Verifier: the cheap checks of a batch, then its HMACs; one
//	  |          counter for each result
//	 Sink        the authentic knocks
//
// Who owns what:
//   - the rotation goroutine owns the set of ports and the tables of the tiers.
//     It prepares new settings and puts them in force;
//   - a reader is a goroutine that is locked to its own thread. Its source owns
//     the sockets that were added to it: only the source reads and closes them;
//   - the rotation also owns the shield, which comes and goes with its holder
//     (SetShield). It gives each source of rings its part, and takes it away once it
//     is empty; between the two, only the source's reader reads it. The sockets stay
//     open, and get all that the shield passes on. One more goroutine shows the
//     program each second that the server runs (beat);
//   - each port has one SO_REUSEPORT socket for each source and address, so
//     sources share only the port's places, which are replaced as a whole;
//   - a shard belongs to one reader, which fills its ring, and to at most one
//     drain task at a time, which empties it. A batch belongs to exactly one of:
//     the free list, the reader, the ring, the task. A source writes into a batch
//     only while fill runs.
//
// The reader pushes a batch when it is full or no datagram is left to read. While
// batches wait in the ring, the reader holds back a batch that is not full for up
// to a millisecond.
//
// To close a port, the shield gives it up first. Then its source attaches a filter that
// refuses everything, reads the socket until it is empty, and reads the kernel's count
// of drops: no datagram is lost without being counted. A datagram that has waited in a
// ring meanwhile is judged by the places that its port had when it arrived (routes).
//
// Settings change in two steps. Prepare does everything that can fail, and leaves
// the old settings in force: it opens the new ports, which accept nothing yet,
// and sets the tiers before the sockets to accept what either settings accept.
// Then commit replaces a pointer and narrows the tiers, or abort narrows them to
// the old settings.
//
// A trace (trace.go) is a question about one identifier: while it is in force, the socket
// filters pass all datagrams with it, and ports of minutes that are not live are open
// without a place. The rules stay the same. The task explains each refused datagram with
// the identifier; without a trace it reads one pointer for each batch.
//
// When something is full: the kernel drops at a full socket queue, the reader
// drops the batch at a full ring and counts it. A reader of the shield's rings waits
// instead, so that those fill, and the program in the kernel drops, by the shares of
// the clients. The Sink drops and counts knocks
// that it has no room for. Nothing is allocated for a datagram, and no memory
// grows with traffic.
package ingest

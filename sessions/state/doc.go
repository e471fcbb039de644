// Package state keeps on disk which nonces were used, so that none is good
// twice, whatever ends the process; and from where clients were let in, so that
// a revocation reaches what is connected, over restarts too.
//
//	sessions.Entry  -> Record        strict: durable when it returns
//	                                 relaxed: durable within 100 ms
//	and its leases  -> RecordLeases  in the same transaction
//	Forget  gives leases up; Leases returns those that are kept
//	Open    reads the whole file and trusts nothing: sound, or refused
//	Gap     which nonces have no record, as far as the file knows
//	Reset   a new file with what is still readable of a damaged one
//
// Before a relaxed store takes an entry without waiting, its file says up to
// which stamp that may happen: at most some seconds ahead of the entries that it
// has. After a crash, what was lost was not stamped later than that, whatever
// any clock shows. Where the file itself was lost, or an earlier form does not
// say that, a start has to doubt all that was stamped up to itself and the
// largest tolerance later; the file keeps that in mind until a store was open
// for so long.
//
// The file is a bbolt database with one bucket; format.go says what is in it.
// bbolt gives transactions that survive a crash, but trusts what it reads:
// pages have no checksum, and a damaged file can make it panic, loop, or go
// back one transaction. So a file is read by pages.go first, which checks all
// of it, and bbolt opens only what has passed.
//
// A sync that failed may have lost what it was for while the page cache still
// shows it, so the file is then never written again: the next Record writes
// another one and puts it in its place.
package state

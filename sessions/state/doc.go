// Package state stores used nonces on disk, so that no nonce is accepted twice,
// however the process ends; and leases, so that a revocation can cut connections
// of a client after a restart too.
//
//	sessions.Entry  -> Record        strict: durable when it returns
//	                                 relaxed: durable within 100 ms
//	and its leases  -> RecordLeases  in the same transaction
//	Forget  removes leases; Leases returns the stored ones
//	RaiseNonces  sets the marks of the clients' secrets by the file
//	Open    reads and checks the whole file, and refuses a damaged one
//	Gap     which used nonces may have no record
//	Reset   replaces a damaged file by a new one with all readable records
//	EncodeExport, Import  take a record to a new file; Format writes those of earlier releases
//
// A client has a record for each secret that it has, or had, and at most maxRecords.
// One more removes the record with the earliest stamp (removed.go). The file keeps the
// latest stamp of the removed records: knocks stamped up to it are refused, whatever
// their secret is.
//
// Before a relaxed store accepts an entry without waiting for the disk, its file
// has a reservation on disk: the latest stamp that such an entry may have, at most
// some seconds after the stamps of the entries so far. After a crash, no lost entry
// has a later stamp, whatever any clock shows. If the file itself was lost, or an
// earlier format has no reservation, a start must refuse all knocks stamped up to
// the start plus the maximum tolerance. The file keeps this margin until a store
// has been open for that long.
//
// Leases that last until they are closed are in another file (kept.go, kept_format.go),
// which a server reads when it starts, and opens again: a damaged file opens nothing.
// The closing commands that must still run are in a third one (closing.go): of a damaged
// file, those that are readable are used. The counts of operations with a limit are in a
// fourth one (uses.go, uses_format.go), always durable when written: what a damaged file,
// a copy or no file leaves unknown counts as used up.
//
// The file of nonces is a bbolt database with one bucket; format.go defines its content.
// bbolt has transactions that survive a crash, but trusts the file: pages have no
// checksum, and a damaged file can make it panic, loop, or lose the last
// transaction. So pages.go reads and checks the whole file first, and bbolt opens
// only a file that has passed.
//
// After a failed sync, data can be missing on disk although the page cache has it.
// So a Store never writes to such a file again: the next Record writes a new file
// and replaces the old one.
package state

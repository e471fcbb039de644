// Package roster keeps the list of clients of a fleet in etcd. ROSTER.md has the keys,
// the bytes and the rules, with their reasons.
//
//	Edit     editor -> the entries of a few clients -> change -> one transaction: the new
//	         entries and the new manifest, if the manifest is still the same
//	Replace  editor -> a new generation beside the old one -> one transaction: the
//	         manifest names the new generation; then the old one is removed
//	Load     manifest -> its entries, by pages at one revision -> all are checked
//	Follow   Load, and then a watch: the changes of each new manifest -> checked -> apply
//
// A list is accepted only if it is complete: its manifest and its entries open under the
// key, their number and their digest are those of the manifest (digest.go), and it
// follows the list that this gateway has applied last (floor.go). Everything else is a
// refusal: the gateway keeps what it has.
//
// The package does not know what an entry contains. It never logs one, and no error has
// one.
//
// Memory: Load holds the list once; Follow holds the changes of one apply, and 36 bytes
// for each client (the digests of the entries, so that a change costs as much as it
// changes). Lines that Follow hands out are overwritten after apply has returned.
//
// Goroutines: those of the callers, and in Follow one for each apply of changes (job.go), so
// that it sees newer lists meanwhile. Follow must be called by one at a time.
package roster

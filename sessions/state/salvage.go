package state

import (
	"io"

	"sallyport/sessions"
)

// salvage returns all readable records of a file that may be damaged: for each
// client the record with the highest nonce, and each lease with its latest end.
// Unused pages may still have leases that Forget removed; they do no harm.
func salvage(file io.ReaderAt, size int64) ([]sessions.Entry, []Lease) {
	newest := map[[4]byte]sessions.Entry{}
	latest := map[leaseID]Lease{}
	take := func(e entry) {
		if l, err := decodeLease(e.key, e.value); err == nil {
			if old, ok := latest[l.id()]; !ok || l.Until.After(old.Until) {
				latest[l.id()] = l
			}
		}
		if record, err := decodeRecord(e.key, e.value); err == nil {
			if old, ok := newest[record.Identifier]; !ok || record.HighestNonce > old.HighestNonce {
				newest[record.Identifier] = record
			}
		}
	}
	// It reads each page by itself, because the tree may be damaged.
	page := make([]byte, pageSize)
	for at := int64(2 * pageSize); at+pageSize <= size; at += pageSize {
		if _, err := file.ReadAt(page, at); err != nil {
			continue // a bad block takes its own records with it
		}
		salvagePage(page, take)
	}
	entries := make([]sessions.Entry, 0, len(newest))
	for _, e := range newest {
		entries = append(entries, e)
	}
	sortEntries(entries)
	leases := make([]Lease, 0, len(latest))
	for _, l := range latest {
		leases = append(leases, l)
	}
	sortLeases(leases)
	return entries, leases
}

// salvagePage takes the records of a leaf page, and of a bucket inside it.
func salvagePage(page []byte, take func(entry)) {
	if native.Uint16(page[8:]) != leafPage {
		return
	}
	// A damaged entry does not affect the others.
	for i := range int(native.Uint16(page[10:])) {
		e, err := leafEntry(page, i)
		if err != nil {
			continue
		}
		if e.bucket && len(e.value) > bucketSize+pageHeaderSize {
			salvagePage(e.value[bucketSize:], take)
		}
		take(e)
	}
}

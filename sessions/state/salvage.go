package state

import (
	"io"

	"sallyport/verify/wire"
)

// salvage returns all readable records of a file that may be damaged: for each
// secret the record with the highest nonce, and each lease with its latest end.
// Unused pages may still have leases that Forget removed, and removed records; they
// do no harm.
func salvage(file io.ReaderAt, size int64) (c contents) {
	newest := entryMap{}
	latest := map[leaseID]Lease{}
	until := map[wire.Identifier]uint32{}
	take := func(e entry) {
		if l, err := decodeLease(e.key, e.value); err == nil {
			if old, ok := latest[l.id()]; !ok || l.Until.After(old.Until) {
				latest[l.id()] = l
			}
		}
		if r, err := decodeRemoved(e.key, e.value); err == nil {
			until[r.client] = max(until[r.client], r.until)
		}
		if record, err := decodeRecord(e.key, e.value); err == nil {
			newest.add(record)
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
	for _, e := range newest {
		c.entries = append(c.entries, e)
	}
	sortEntries(c.entries)
	for _, l := range latest {
		c.leases = append(c.leases, l)
	}
	sortLeases(c.leases)
	for client, stamp := range until {
		c.removed = append(c.removed, removed{client, stamp})
	}
	sortRemoved(c.removed)
	return c
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

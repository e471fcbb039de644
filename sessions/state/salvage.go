package state

import (
	"os"

	"sallyport/sessions"
)

// salvage returns what is still readable of a file, sound or not, and newest
// first where a client occurs more than once.
func salvage(path string) ([]sessions.Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	newest := map[[4]byte]sessions.Entry{}
	take := func(e entry) {
		if record, err := decodeRecord(e.key, e.value); err == nil {
			if old, ok := newest[record.Identifier]; !ok || record.Mark > old.Mark {
				newest[record.Identifier] = record
			}
		}
	}
	// Every page on its own, wherever the damaged tree may lead.
	page := make([]byte, pageSize)
	for at := int64(2 * pageSize); at+pageSize <= info.Size(); at += pageSize {
		if _, err := f.ReadAt(page, at); err != nil {
			continue // a bad block takes its own records with it
		}
		salvagePage(page, take)
	}
	entries := make([]sessions.Entry, 0, len(newest))
	for _, e := range newest {
		entries = append(entries, e)
	}
	sortEntries(entries)
	return entries, nil
}

// salvagePage takes the records of a leaf page, and of a bucket inside it.
func salvagePage(page []byte, take func(entry)) {
	if native.Uint16(page[8:]) != leafPage {
		return
	}
	// What is wrong with one entry does not spoil the others.
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

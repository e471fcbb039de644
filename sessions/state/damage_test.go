package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"

	"sallyport/bench/race"
	"sallyport/sessions"
)

// grown returns a file that has pages of all kinds, and overwritten entries.
func grown(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, config(dir))
	for mark := range uint32(5) {
		leases := lots(used('1', 0).Identifier, 20+int(mark))
		if _, err := s.RecordLeases(crowd(300, mark+1), leases); err != nil {
			t.Fatal(err)
		}
		if err := s.Forget(leases[:mark]); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	return fileOf(t, dir)
}

// fileOf returns the pages of a file that are in use: the rest is a hole.
func fileOf(t testing.TB, dir string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := newReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return text[:r.pages*pageSize]
}

// TestNoDamagedByteIsTrusted changes bytes of a file, one at a time: either the
// file is refused, or all records are there.
func TestNoDamagedByteIsTrusted(t *testing.T) {
	text := grown(t)
	want, err := read(bytes.NewReader(text), int64(len(text)))
	if err != nil || len(want.entries) != 300 || len(want.leases) != 20 {
		t.Fatalf("%d leases, %v", len(want.leases), err)
	}
	refused, tried, least := 0, 0, 1000
	step := 1
	if race.Enabled { // it finds nothing here, and takes most of a minute
		step, least = 13, least/13
	}
	for at := 0; at < len(text); at += step {
		if at%pageSize > 300 && at%7 != 0 {
			continue // mostly heads of pages, where all kinds of numbers are
		}
		for _, flip := range []byte{1 << (at % 8), 0xff} {
			text[at] ^= flip
			tried++
			c, err := read(bytes.NewReader(text), int64(len(text)))
			if err != nil {
				refused++
			} else if !slices.Equal(c.entries, want.entries) || !slices.Equal(c.leases, want.leases) ||
				c.header != want.header {
				t.Fatalf("byte %d changed by %#x: %d entries, %d leases, header %+v; want header %+v; entries equal: %t, leases equal: %t", at, flip,
					len(c.entries), len(c.leases), c.header, want.header, slices.Equal(c.entries, want.entries), slices.Equal(c.leases, want.leases))
			}
			text[at] ^= flip
		}
	}
	t.Logf("%d changes, %d of them to bytes that matter", tried, refused)
	if refused < least {
		t.Errorf("only %d refused", refused)
	}
}

// TestEarlierTransactionIsRefused points the bucket to each page of the file. The
// tree of an earlier transaction is intact, and must not be taken for the last one.
func TestEarlierTransactionIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	s := open(t, config(dir))
	record(t, s, crowd(300, 1)...)
	record(t, s, used('1', 7))
	closeStore(t, s)
	text := fileOf(t, dir)
	want, err := read(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	pointers := 0
	for at := 0; ; at += len(bucketName) {
		next := bytes.Index(text[at:], bucketName)
		if next < 0 {
			break
		}
		at += next
		pointer := text[at+len(bucketName):][:8]
		before := native.Uint64(pointer)
		for page := range uint64(len(text) / pageSize) {
			native.PutUint64(pointer, page)
			c, err := read(bytes.NewReader(text), int64(len(text)))
			if err == nil && (!slices.Equal(c.entries, want.entries) || c.header != want.header) {
				t.Errorf("page %d in place of %d: %d entries, header %+v", page, before, len(c.entries), c.header)
			}
		}
		native.PutUint64(pointer, before)
		pointers++
	}
	if pointers == 0 {
		t.Error("no pointer found")
	}
}

func TestCutFileIsRefused(t *testing.T) {
	text := grown(t)
	for size := 0; size < len(text); size += pageSize / 2 {
		if _, err := read(bytes.NewReader(text[:size]), int64(size)); err == nil {
			t.Errorf("%d of %d bytes accepted", size, len(text))
		}
	}
}

// TestRaiseThatFails: a damaged record is an error.
func TestRaiseThatFails(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	s := open(t, config(dir))
	defer s.Close()
	record(t, s, used('1', 50), used('2', 60))
	bad := used('2', 0).Identifier
	damage := func(tx *bolt.Tx) error { return tx.Bucket(bucketName).Put(bad[:], []byte("?")) }
	if err := s.db.Update(damage); err != nil {
		t.Fatal(err)
	}
	clients := []sessions.Client{
		{Identifier: used('1', 0).Identifier, Current: secretOf(7)}, {Identifier: bad, Current: secretOf(8)},
	}
	var damaged *DamagedError
	if err := s.RaiseNonces(clients); !errors.As(err, &damaged) {
		t.Errorf("got %v", err)
	}
}

// FuzzRead: a file is read, or refused with an error.
func FuzzRead(f *testing.F) {
	f.Add([]byte{})
	f.Add(grown(f))
	dir := f.TempDir()
	if err := Create(dir); err != nil {
		f.Fatal(err)
	}
	f.Add(fileOf(f, dir))
	for _, name := range []string{"form1.db", "form1-open.db", "form2.db"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := read(bytes.NewReader(text), int64(len(text)))
		if err == nil && uint64(len(c.entries)+len(c.leases)+len(c.removed)) != c.header.count {
			t.Errorf("%d entries and %d leases, the header counts %d", len(c.entries), len(c.leases), c.header.count)
		}
		for at := 0; at+pageSize <= len(text); at += pageSize {
			salvagePage(text[at:at+pageSize], func(e entry) {
				decodeRecord(e.key, e.value)
				decodeLease(e.key, e.value)
				decodeRemoved(e.key, e.value)
			})
		}
	})
}

package state

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

var errNoDisk = errors.New("no disk")

var start = time.Unix(1_800_000_000, 0)

func config(dir string) Config {
	return Config{Dir: dir, Tolerance: time.Minute, Now: start, Wait: time.Minute, Log: slog.New(slog.DiscardHandler)}
}

func relaxed(dir string) Config {
	cfg := config(dir)
	cfg.Relaxed = true
	return cfg
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record(t testing.TB, s *Store, entries ...sessions.Entry) {
	t.Helper()
	if err := s.Record(entries); err != nil {
		t.Fatal(err)
	}
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// used is what a client has recorded whose mark it is.
func used(name byte, mark uint32) sessions.Entry {
	w := replay.Window{}
	for below := range min(mark, 2) + 1 {
		w.Accept(mark - below)
	}
	return sessions.Entry{Identifier: wire.Identifier{'c', 'o', 'm', name}, Mark: mark, Ring: w.Ring(), Stamp: 1_800_000_000 + mark}
}

// crowd is a list of clients, in order, with one mark.
func crowd(n int, mark uint32) []sessions.Entry {
	entries := make([]sessions.Entry, n)
	for i := range entries {
		entries[i] = used(byte('!'+i%90), mark)
		entries[i].Identifier[0], entries[i].Identifier[1] = byte('!'+i/90/90), byte('!'+i/90%90)
	}
	sortEntries(entries)
	return entries
}

// crash returns a directory with what the store's process would leave if it
// were killed now.
func crash(t testing.TB, s *Store) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(s.path))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func marks(t testing.TB, s *Store, names string) (got []uint32) {
	t.Helper()
	var clients []sessions.Client
	for _, name := range []byte(names) {
		clients = append(clients, sessions.Client{Identifier: wire.Identifier{'c', 'o', 'm', name}, Mark: 7})
	}
	if err := s.Raise(clients); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		got = append(got, c.Mark)
	}
	return got
}

func TestRecordIsThereAfterACrash(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	s := open(t, config(dir))
	defer s.Close()
	if s.Doubt().After(start.Add(-time.Hour)) {
		t.Errorf("a store that was made for a new server is doubted until %v", s.Doubt())
	}
	record(t, s, used('1', 12), used('2', 3))
	record(t, s, used('1', 15), used('2', 2)) // a mark never falls
	if got := marks(t, s, "123"); !slices.Equal(got, []uint32{15, 7, 7}) {
		t.Errorf("marks %v", got)
	}
	after := open(t, config(crash(t, s)))
	defer after.Close()
	if got := marks(t, after, "123"); !slices.Equal(got, []uint32{15, 7, 7}) {
		t.Errorf("marks after the crash %v", got)
	}
	if after.Doubt() != s.Doubt() {
		t.Errorf("doubted after the crash until %v", after.Doubt())
	}
	if info, err := os.Stat(s.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestMissingIsDoubted: it may have been lost. That is not forgotten by a
// restart.
func TestMissingIsDoubted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		s := open(t, config(dir))
		if want := start.Add(time.Minute); !s.Doubt().Equal(want) {
			t.Errorf("doubted until %v, want %v", s.Doubt(), want)
		}
		closeStore(t, s)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	var locked *LockedError
	second := config(dir)
	second.Wait = 100 * time.Millisecond
	if _, err := Open(t.Context(), second); !errors.As(err, &locked) || locked.Hint() == "" {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := ReadDir(t.Context(), dir); !errors.As(err, &locked) {
		t.Errorf("read while it is written: %v", err)
	}
	if _, err := Reset(t.Context(), dir, start, true); !errors.As(err, &locked) {
		t.Errorf("reset while it is written: %v", err)
	}
	closeStore(t, s)
	closeStore(t, open(t, config(dir)))
}

// TestReadsWhatBoltWrites draws batches of entries, and reads the file that
// comes of them in both ways.
func TestReadsWhatBoltWrites(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		path := filepath.Join(dir, FileName)
		os.Remove(path)
		if err := Create(dir); err != nil {
			rt.Fatal(err)
		}
		s := open(t, config(dir))
		defer s.Close()
		model := entryOf{}
		for range rapid.IntRange(0, 6).Draw(rt, "batches") {
			batch := crowd(rapid.IntRange(0, 1000).Draw(rt, "clients"), rapid.Uint32().Draw(rt, "mark"))
			batch = batch[rapid.IntRange(0, len(batch)).Draw(rt, "from"):]
			record(t, s, batch...)
			for _, e := range batch {
				model.add(e)
			}
		}
		want := make([]sessions.Entry, 0, len(model))
		for _, e := range model {
			want = append(want, e)
		}
		sortEntries(want)
		byBolt, err := s.entries()
		if err != nil || !slices.Equal(byBolt, want) {
			rt.Errorf("bbolt reads %d entries, %v; want %d", len(byBolt), err, len(want))
		}
		c, err := ReadFile(path)
		if err != nil || !slices.Equal(c.Entries, want) {
			rt.Errorf("read %d entries, %v; want %d", len(c.Entries), err, len(want))
		}
		var snapshot bytes.Buffer
		if err := s.Snapshot(&snapshot); err != nil {
			rt.Error(err)
		}
		if c, err := read(bytes.NewReader(snapshot.Bytes()), int64(snapshot.Len())); err != nil || !slices.Equal(c.entries, want) {
			rt.Errorf("the snapshot: %v", err)
		}
	})
}

func TestLaterFormIsRefused(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, config(dir)))
	setVersion(t, dir, version+1)
	before, _ := os.ReadFile(filepath.Join(dir, FileName))
	var newer *NewerError
	if _, err := Open(t.Context(), config(dir)); !errors.As(err, &newer) || newer.Version != version+1 || newer.Path == "" {
		t.Errorf("got %v", err)
	}
	if _, err := Reset(t.Context(), dir, start, true); !errors.As(err, &newer) {
		t.Errorf("reset: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, FileName)); !bytes.Equal(before, after) {
		t.Error("the file has changed")
	}
	if _, err := Reset(t.Context(), dir, start, false); err != nil {
		t.Errorf("reset without its content: %v", err)
	}
}

// TestEarlierFormIsWrittenAnew reads a form whose records are marks alone.
func TestEarlierFormIsWrittenAnew(t *testing.T) {
	const earlier = version - 1
	forms[earlier] = func(_ []byte, raw []entry) (h header, entries []sessions.Entry, err error) {
		for _, e := range raw {
			entries = append(entries, used(e.key[3], uint32(e.value[0])))
		}
		return header{open: true}, entries, nil
	}
	defer delete(forms, earlier)
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	setVersion(t, dir, earlier)
	edit(t, dir, func(b *bolt.Bucket) error {
		return errors.Join(b.Put([]byte("com1"), []byte{9}), b.Put([]byte("com2"), []byte{40}))
	})
	s := open(t, config(dir))
	defer s.Close()
	if got := marks(t, s, "12"); !slices.Equal(got, []uint32{9, 40}) {
		t.Errorf("marks %v", got)
	}
	if want := start.Add(time.Minute); !s.Doubt().Equal(want) {
		t.Errorf("the header is lost: doubted until %v", s.Doubt())
	}
	if c, err := ReadFile(s.path); err != nil || c.Version != version || len(c.Entries) != 2 {
		t.Errorf("got %v, %v", c, err)
	}
}

func setVersion(t *testing.T, dir string, v byte) {
	edit(t, dir, func(b *bolt.Bucket) error { return b.Put(versionKey, []byte{0, 0, 0, v}) })
}

func edit(t *testing.T, dir string, change func(*bolt.Bucket) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, FileName), 0o600, options(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket(bucketName)) }); err != nil {
		t.Fatal(err)
	}
}

func TestReset(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	want := crowd(1000, 5)
	record(t, s, want...)
	closeStore(t, s)
	path := filepath.Join(dir, FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// One record is spoiled.
	text[bytes.Index(text, want[500].Identifier[:])+10] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := Open(t.Context(), config(dir)); !errors.As(err, &damaged) || damaged.Hint() == "" {
		t.Fatalf("opened: %v", err)
	}
	later := start.Add(time.Hour)
	o, err := Reset(t.Context(), dir, later, true)
	if err != nil || o.Kept < 999 || !o.Doubt.Equal(later.Add(schedule.MaxTolerance)) {
		t.Fatalf("%+v, %v", o, err)
	}
	if old, err := os.ReadFile(o.Aside); err != nil || !bytes.Equal(old, text) {
		t.Errorf("the old file is lost: %v", err)
	}
	s = open(t, config(dir))
	if !s.Doubt().Equal(later.Add(time.Minute)) {
		t.Errorf("doubted until %v", s.Doubt())
	}
	got, err := s.entries()
	sound := slices.Delete(slices.Clone(want), 500, 501)
	if err != nil || !reflect.DeepEqual(slices.DeleteFunc(got, func(e sessions.Entry) bool { return e.Identifier == want[500].Identifier }), sound) {
		t.Errorf("%d entries, %v", len(got), err)
	}
	closeStore(t, s)

	if o, err := Reset(t.Context(), dir, later.Add(time.Second), false); err != nil || o.Kept != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := Reset(t.Context(), t.TempDir(), later, true); err != nil || o.Kept != 0 || o.Aside != "" {
		t.Errorf("of nothing: %+v, %v", o, err)
	}
}

// badBlock is a file of which a part cannot be read.
type badBlock struct {
	io.ReaderAt
	at int64
}

func (b badBlock) ReadAt(p []byte, at int64) (int, error) {
	if at <= b.at && b.at < at+int64(len(p)) {
		return 0, &fs.PathError{Op: "read", Path: "nonces.db", Err: syscall.EIO}
	}
	return b.ReaderAt.ReadAt(p, at)
}

func TestBadBlocksAreDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	record(t, s, crowd(1000, 5)...)
	closeStore(t, s)
	text, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	for at := int64(0); at < int64(len(text)); at += pageSize {
		c, err := Read(badBlock{bytes.NewReader(text), at}, int64(len(text)), "it")
		var damaged *DamagedError
		switch {
		case err == nil: // a page that is not in use
			if len(c.Entries) != 1000 {
				t.Errorf("without page %d: %d entries", at/pageSize, len(c.Entries))
			}
		case !errors.As(err, &damaged) || !errors.Is(err, syscall.EIO):
			t.Errorf("without page %d: %v", at/pageSize, err)
		case len(c.Entries) < 800:
			t.Errorf("without page %d: only %d entries are readable", at/pageSize, len(c.Entries))
		default:
			spoiled++
		}
	}
	if spoiled == 0 {
		t.Error("no page matters")
	}
}

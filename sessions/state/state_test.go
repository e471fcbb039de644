package state

import (
	"bytes"
	"encoding/binary"
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
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

var errNoDisk = errors.New("no disk")

var start = time.Unix(1_800_000_000, 0)

func config(dir string) Config {
	return Config{Dir: dir, Now: start, Wait: time.Minute, Log: slog.New(slog.DiscardHandler)}
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

// used returns the entry of a client whose highest nonce is mark.
func used(name byte, mark uint32) sessions.Entry {
	w := replay.Window{}
	for below := range min(mark, 2) + 1 {
		w.Accept(mark - below)
	}
	return sessions.Entry{
		Identifier: wire.Identifier{'c', 'o', 'm', name}, Secret: secretOf(0).Fingerprint,
		HighestNonce: mark, Ring: w.Ring(), Stamp: 1_800_000_000 + mark,
	}
}

// secretOf returns the secret of every client of used, with a highest nonce.
func secretOf(mark uint32) sessions.Secret {
	return sessions.Secret{Fingerprint: 5, HighestNonce: mark}
}

// crowd returns the entries of n clients, in order, with the same mark.
func crowd(n int, mark uint32) []sessions.Entry {
	entries := make([]sessions.Entry, n)
	for i := range entries {
		entries[i] = used(byte('!'+i%90), mark)
		entries[i].Identifier[0], entries[i].Identifier[1] = byte('!'+i/90/90), byte('!'+i/90%90)
	}
	sortEntries(entries)
	return entries
}

// crash returns a directory with the files that the store's process would leave if
// it were killed now.
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
		clients = append(clients, sessions.Client{Identifier: wire.Identifier{'c', 'o', 'm', name}, Current: secretOf(7)})
	}
	if err := s.RaiseNonces(clients); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		got = append(got, c.Current.HighestNonce)
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
	if s.Gap() != (Gap{Fresh: true}) {
		t.Errorf("a store that was made for a new server has a gap: %+v", s.Gap())
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
	if after.Gap() != (Gap{}) {
		t.Errorf("after the crash there is a gap: %+v", after.Gap())
	}
	if info, err := os.Stat(s.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestMissingFileHasAMargin: a missing file may have been lost. The margin stays
// over restarts until a store has been open for as long, whatever the wall clock
// shows and however the store ends then.
func TestMissingFileHasAMargin(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(*testing.T, *Store, *Config)
	}{
		{"a stop", func(t *testing.T, s *Store, _ *Config) { closeStore(t, s) }},
		{"a crash after a look", func(t *testing.T, s *Store, cfg *Config) {
			if err := s.ClearMargin(); err != nil {
				t.Fatal(err)
			}
			cfg.Dir = crash(t, s)
			closeStore(t, s)
		}},
		{"a crash after a grant", func(t *testing.T, s *Store, cfg *Config) {
			record(t, s, used('1', 5))
			cfg.Dir = crash(t, s)
			closeStore(t, s)
		}},
	} {
		boot := start
		cfg := config(filepath.Join(t.TempDir(), "a", "b"))
		cfg.Boot = func() time.Time { return boot }
		for _, open1 := range []time.Duration{0, 59 * time.Second, time.Minute} {
			s := open(t, cfg)
			if want := (Gap{NotBeforeMargin: time.Minute}); s.Gap() != want {
				t.Errorf("%s: %+v, want %+v", row.name, s.Gap(), want)
			}
			cfg.Now = cfg.Now.Add(time.Hour)
			boot = boot.Add(open1)
			row.end(t, s, &cfg)
		}
		s := open(t, cfg)
		if s.Gap() != (Gap{}) {
			t.Errorf("%s: it is not over: %+v", row.name, s.Gap())
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

// TestReadsWhatBoltWrites draws batches of entries, and reads the resulting file
// with bbolt and with read.
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
		model := entryMap{}
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
		byBolt, err := s.readAll()
		if err != nil || !slices.Equal(byBolt.entries, want) {
			rt.Errorf("bbolt reads %d entries, %v; want %d", len(byBolt.entries), err, len(want))
		}
		c, err := ReadFile(path)
		if err != nil || !slices.Equal(c.Entries, want) {
			rt.Errorf("read %d entries, %v; want %d", len(c.Entries), err, len(want))
		}
		var snapshot bytes.Buffer
		if err := s.Snapshot(&snapshot); err != nil {
			rt.Error(err)
		}
		copied, err := read(bytes.NewReader(snapshot.Bytes()), int64(snapshot.Len()))
		if err != nil || !slices.Equal(copied.entries, want) {
			rt.Errorf("the snapshot: %v", err)
		}
	})
}

func TestLaterFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, config(dir)))
	setVersion(t, dir, version+1)
	before, _ := os.ReadFile(filepath.Join(dir, FileName))
	var newer *NewerError
	_, err := Open(t.Context(), config(dir))
	if !errors.As(err, &newer) || newer.Version != version+1 || newer.Path == "" {
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

// TestEarlierFormatIsConverted reads files that releases with formats 1 and 2 wrote:
// one that was closed, and one of a relaxed store that crashed. The marks are those
// of every secret that the clients have at the first start.
func TestEarlierFormatIsConverted(t *testing.T) {
	want := []sessions.Entry{used('1', 12), used('2', 0), used('3', 4_000_000_000)}
	for i := range want {
		want[i].Secret = 0
	}
	lost := time.Unix(int64(want[0].Stamp)+reserveAhead, 0)
	for _, row := range []struct {
		file  string
		until uint32
		gap   Gap
	}{
		{"form1.db", 0, Gap{}},
		{"form1.db", uint32(start.Unix()), Gap{}},
		{"form1.db", uint32(start.Unix()) + 1, Gap{NotBeforeMargin: time.Minute}},
		{"form1.db", uint32(start.Unix()) + 8*3600, Gap{NotBeforeMargin: time.Minute}},
		{"form1-open.db", 0, Gap{NotBeforeMargin: time.Minute}},
		{"form2.db", 0, Gap{}},
		{"form2-open.db", 0, Gap{LostUntil: lost}},
	} {
		dir := t.TempDir()
		text, err := os.ReadFile(filepath.Join("testdata", row.file))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, FileName)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if row.until != 0 {
			edit(t, dir, func(b *bolt.Bucket) error {
				h := bytes.Clone(b.Get(headerKey))
				binary.BigEndian.PutUint32(h[1:], row.until)
				binary.BigEndian.PutUint64(h[headerSize1-8:], xxhash.Sum64(h[:headerSize1-8]))
				return b.Put(headerKey, h)
			})
		}
		before, err := ReadFile(path)
		if err != nil || before.Version != uint32(row.file[4]-'0') || !slices.Equal(before.Entries, want) {
			t.Fatalf("%s: %+v, %v", row.file, before, err)
		}
		cfg := config(dir)
		s := open(t, cfg)
		if s.Gap() != row.gap {
			t.Errorf("%s: %+v, want %+v", row.file, s.Gap(), row.gap)
		}
		c, err := ReadFile(path)
		if err != nil || c.Version != version {
			t.Fatal(err)
		}
		if !slices.Equal(c.Entries, want) || !slices.Equal(c.Leases, before.Leases) {
			t.Errorf("%s: now %+v, %v", row.file, c, err)
		}
		one := []sessions.Client{{Identifier: want[0].Identifier, Current: secretOf(0), Previous: sessions.Secret{Fingerprint: 8}}}
		for range 2 {
			if err := s.RaiseNonces(one); err != nil {
				t.Fatal(err)
			}
			for _, got := range []sessions.Secret{one[0].Current, one[0].Previous} {
				if !got.Used || got.HighestNonce != 12 || got.LostUntil != want[0].Stamp {
					t.Errorf("%s: %+v", row.file, got)
				}
			}
			// A later secret has no mark, but the stamps of the converted record are refused.
			later := []sessions.Client{{Identifier: want[0].Identifier, Current: sessions.Secret{Fingerprint: 9}}}
			if err := s.RaiseNonces(later); err != nil {
				t.Fatal(err)
			}
			if got := later[0].Current; got.Used || got.LostUntil != want[0].Stamp {
				t.Errorf("%s: %+v", row.file, got)
			}
			closeStore(t, s)
			s = open(t, cfg)
		}
		if got := marks(t, s, "123"); !slices.Equal(got, []uint32{12, 7, 4_000_000_000}) {
			t.Errorf("%s: marks %v", row.file, got)
		}
		if c, err := ReadFile(path); err != nil || c.Clients() != 3 || len(c.Entries) != 4 {
			t.Errorf("%s: %+v, %v", row.file, c, err)
		}
		closeStore(t, s)
	}
}

// TestRemovedRecordsKeepTheirStamp: a client has a limited number of records. The
// one with the earliest stamp is removed, and its stamp stays, also in a new file.
func TestRemovedRecordsKeepTheirStamp(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	stamps := map[verify.Fingerprint]uint32{}
	for secret := range verify.Fingerprint(3 * maxRecords) {
		e := used('1', 100)
		e.Secret, e.Stamp = secret+1, 1000+uint32(secret*7%11)
		stamps[e.Secret] = e.Stamp
		record(t, s, e)
	}
	check := func() {
		t.Helper()
		found := 0
		for secret, stamp := range stamps {
			c := []sessions.Client{{Identifier: used('1', 0).Identifier, Current: sessions.Secret{Fingerprint: secret}}}
			if err := s.RaiseNonces(c); err != nil {
				t.Fatal(err)
			}
			if c[0].Current.Used {
				found++
			} else if c[0].Current.LostUntil < stamp {
				t.Errorf("secret %d: stamp %d, knocks until %d are refused", secret, stamp, c[0].Current.LostUntil)
			}
		}
		if found != maxRecords {
			t.Errorf("%d records", found)
		}
	}
	check()
	closeStore(t, s)
	if _, err := Reset(t.Context(), dir, start, true); err != nil {
		t.Fatal(err)
	}
	s = open(t, config(dir))
	defer closeStore(t, s)
	check()
}

// TestMarkZeroIsUsed: the highest nonce of a record is used, even if it is 0.
func TestMarkZeroIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{config(t.TempDir()), relaxed(t.TempDir())} {
			if err := Create(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			s := open(t, cfg)
			record(t, s, used('1', 0))
			for range 2 {
				c := []sessions.Client{{Identifier: used('1', 0).Identifier, Current: secretOf(0)}, {Identifier: used('2', 0).Identifier, Current: secretOf(0)}}
				err := s.RaiseNonces(c)
				if got := c[0].Current; err != nil || !got.Used || got.HighestNonce != 0 || c[1].Current.Used {
					t.Errorf("relaxed %t: %+v, %v", cfg.Relaxed, c, err)
				}
				closeStore(t, s)
				s = open(t, cfg)
			}
			closeStore(t, s)
		}
	})
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
	// Damage one record.
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
	if err != nil || o.Kept < 999 {
		t.Fatalf("%+v, %v", o, err)
	}
	if old, err := os.ReadFile(o.Aside); err != nil || !bytes.Equal(old, text) {
		t.Errorf("the old file is lost: %v", err)
	}
	s = open(t, config(dir))
	if want := (Gap{NotBeforeMargin: schedule.MaxTolerance}); s.Gap() != want {
		t.Errorf("%+v, want %+v", s.Gap(), want)
	}
	kept, err := s.readAll()
	got := kept.entries
	sound := slices.Delete(slices.Clone(want), 500, 501)
	damagedEntry := func(e sessions.Entry) bool { return e.Identifier == want[500].Identifier }
	if err != nil || !reflect.DeepEqual(slices.DeleteFunc(got, damagedEntry), sound) {
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

// badBlock is a file with a block that cannot be read.
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

package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/verify"
	"sallyport/verify/replay"
	"sallyport/verify/wire"
)

func drawContents(t *rapid.T) (c Contents) {
	c.Version = version
	keys := map[string]bool{}
	for range rapid.IntRange(0, 8).Draw(t, "records") {
		e := used(rapid.SampledFrom([]byte("123")).Draw(t, "client"), rapid.SampledFrom([]uint32{0, 1, 60, 64, 127, 128, 300, 1 << 31}).Draw(t, "highest"))
		e.Secret = verify.Fingerprint(rapid.Uint64Range(0, 3).Draw(t, "secret"))
		if key := string(recordKey(e)); !keys[key] {
			keys[key] = true
			c.Entries = append(c.Entries, e)
		}
	}
	sortEntries(c.Entries)
	if rapid.Bool().Draw(t, "removed") {
		c.removed = []removed{{used('2', 0).Identifier, 1_900_000_000}}
	}
	if rapid.Bool().Draw(t, "lost") {
		c.Gap.LostUntil = time.Unix(1_850_000_000, 0)
	}
	c.Leases = rapid.SliceOfNDistinct(rapid.Custom(drawLease), 0, 5, Lease.id).Draw(t, "leases")
	for i := range c.Leases {
		c.Leases[i].Until = c.Leases[i].Until.Truncate(time.Second).Local()
	}
	sortLeases(c.Leases)
	return c
}

// TestExportIsRead: an export has the whole content, and a state file that is made from it.
func TestExportIsRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawContents(rt)
		text, err := EncodeExport(c)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := DecodeExport(text)
		if err != nil || !sameContents(got, c) || !got.Gap.LostUntil.Equal(c.Gap.LostUntil) {
			rt.Fatalf("got %+v, %v, want %+v", got, err, c)
		}
	})
}

func sameContents(a, b Contents) bool {
	return slices.Equal(a.Entries, b.Entries) && slices.Equal(a.removed, b.removed) &&
		slices.EqualFunc(a.Leases, b.Leases, func(a, b Lease) bool { return a.id() == b.id() && a.Until.Equal(b.Until) })
}

// TestKeptExport: later releases read the export of this one, byte by byte.
func TestKeptExport(t *testing.T) {
	text, err := os.ReadFile("testdata/formats/export-1")
	if err != nil {
		t.Fatal(err)
	}
	c, err := DecodeExport(text)
	want := Contents{Version: version, Entries: []sessions.Entry{used('1', 12), used('3', 4_000_000_000)}}
	want.removed = []removed{{used('1', 0).Identifier, 1_800_000_001}}
	want.Gap.LostUntil = time.Unix(1_800_000_007, 0)
	want.Leases = []Lease{{used('1', 0).Identifier, access.ID("ssh"), access.PeerOf(netip.MustParseAddr("192.0.2.7"), access.PrefixHost), time.Unix(1_800_000_100, 0)}}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, %v, want %+v", c, err, want)
	}
	if again, err := EncodeExport(c); err != nil || !bytes.Equal(again, text) {
		t.Errorf("written again: %s, %v", again, err)
	}
}

// TestWrongExport: each row changes the kept export, and corrects its checksum.
func TestWrongExport(t *testing.T) {
	text, err := os.ReadFile("testdata/formats/export-1")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(text string) string {
		first, lines, _ := strings.Cut(text, "\n")
		sum := sha256.Sum256([]byte(lines))
		return regexp.MustCompile(`"sha256":"[^"]*"`).ReplaceAllString(first, `"sha256":"`+hex.EncodeToString(sum[:])+`"`) + "\n" + lines
	}
	if sign(string(text)) != string(text) {
		t.Fatal("the kept export has another checksum")
	}
	lines := strings.SplitAfter(string(text), "\n")
	for name, row := range map[string]struct{ old, new, want string }{
		"no export":         {`"sallyport state"`, `"else"`, "expected a file of"},
		"later":             {`"version":1`, `"version":2`, "it has version 2, this release reads versions up to 1"},
		"counts":            {`"nonces":2`, `"nonces":1`, "its checksum, its counts"},
		"an unknown key":    {`"stamp":`, `"other":1,"stamp":`, "line 2: expected a record as JSON"},
		"an unknown record": {`{"removed":`, `{"closed":`, "line 4: expected a record as JSON"},
		"an empty record":   {lines[3], "{}\n", "line 4: expected nonces, removed or lease"},
		"another client":    {`"client":"com3"`, `"client":"com33"`, "line 3: expected a client"},
		"no printable one":  {`"client":"com3"`, `"client":"co 3"`, "line 3: expected a client"},
		"secret":            {`"secret":"`, `"secret":"x`, "line 2: expected a client, the fingerprint"},
		"unused":            {`"highest":12`, `"highest":13`, "line 2: the highest nonce is not marked as used"},
		"twice":             {lines[2], lines[2] + lines[2], "its checksum, its counts"},
		"order":             {lines[1] + lines[2], lines[2] + lines[1], "the nonces do not ascend"},
		"peer":              {`/32"`, `/40"`, "expected a lease"},
		"host bits":         {`192.0.2.7/32`, `192.0.2.7/24`, "peer"},
		"no removed stamp":  {`"until":1800000001`, `"until":0`, "line 4: expected a client and a stamp"},
		"truncated":         {lines[len(lines)-2], "", "its checksum, its counts"},
		"a space":           {`"stamp":`, ` "stamp":`, "its checksum, its counts"},
	} {
		changed := strings.Replace(string(text), row.old, row.new, 1)
		if changed == string(text) {
			t.Fatalf("%s: nothing is replaced", name)
		}
		if _, err := DecodeExport([]byte(sign(changed))); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	if _, err := DecodeExport(bytes.Replace(text, []byte(`"stamp":1`), []byte(`"stamp":2`), 1)); err == nil {
		t.Error("a wrong checksum is no error")
	}
}

// TestImport: a file exists, a server runs, and what the next start does after an import.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	c := Contents{Entries: []sessions.Entry{used('1', 12)}}
	c.removed = []removed{{used('2', 0).Identifier, 1_800_000_001}}
	c.Gap.LostUntil = time.Unix(1_800_000_007, 0)
	lock, err := TakeLock(t.Context(), dir, 0, config(dir).Log)
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := Import(t.Context(), dir, c, start); !errors.As(err, &locked) {
		t.Errorf("while a server runs: %v", err)
	}
	lock.Close()
	kept, err := os.ReadFile("testdata/formats/open-leases-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, KeptFileName), kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Import(t.Context(), dir, c, start); err != nil || n != 2 {
		t.Fatalf("%d leases ended, %v", n, err)
	}
	if list, err := ReadKept(dir); len(list) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("leases to open again: %v, %v", list, err)
	}
	if _, err := Import(t.Context(), dir, c, start); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	s := open(t, config(dir))
	defer closeStore(t, s)
	if want := (Gap{NotBeforeMargin: time.Minute, LostUntil: c.Gap.LostUntil}); s.Gap() != want {
		t.Errorf("the start refuses %+v, want %+v", s.Gap(), want)
	}
	clients := []sessions.Client{
		{Identifier: used('1', 0).Identifier, Current: sessions.Secret{Fingerprint: used('1', 0).Secret}},
		{Identifier: used('2', 0).Identifier, Current: sessions.Secret{Fingerprint: 5}},
	}
	if err := s.RaiseNonces(clients); err != nil {
		t.Fatal(err)
	}
	if one := clients[0].Current; !one.Used || one.HighestNonce != 12 || clients[1].Current.LostUntil != 1_800_000_001 {
		t.Errorf("got %+v", clients)
	}
}

// TestEarlierFormatsAreWritten: of each format that this release writes, each nonce that
// the content has used, with any secret, is used in the file, and the stamps of removed
// records are refused.
func TestEarlierFormatsAreWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawContents(rt)
		form := rapid.Uint32Range(EarliestFormat, LatestFormat).Draw(rt, "format")
		text, leftOut, err := Format(c, form)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := Read(bytes.NewReader(text), int64(len(text)), "x")
		if err != nil || got.Version != form || got.Gap.NotBeforeMargin != time.Minute {
			rt.Fatalf("got %+v, %v", got, err)
		}
		windows := map[wire.Identifier]replay.Window{}
		for _, e := range got.Entries {
			if form == 2 && (e.Secret != 0 || windows[e.Identifier] != replay.Window{}) {
				rt.Fatalf("format 2 has %+v", got.Entries)
			}
			windows[e.Identifier] = replay.Recorded(e.HighestNonce, e.Ring)
		}
		for _, e := range c.Entries {
			of, w := replay.Recorded(e.HighestNonce, e.Ring), windows[e.Identifier]
			for n := uint32(0); form == 2 && n < 600; n++ {
				if e.HighestNonce < n {
					break
				}
				if at := e.HighestNonce - n; !of.Unused(at) && w.Unused(at) {
					rt.Fatalf("nonce %d of %+v is unused in %+v", at, e, got.Entries)
				}
			}
		}
		if form > 2 && !(slices.Equal(got.Entries, c.Entries) && slices.Equal(got.removed, c.removed)) {
			rt.Fatalf("got %+v, want %+v", got, c)
		}
		for _, r := range c.removed {
			if form == 2 && got.Gap.LostUntil.Unix() < int64(r.until) {
				rt.Fatalf("stamps up to %d are not refused: %+v", r.until, got.Gap)
			}
		}
		for _, l := range got.Leases {
			if l.Peer == access.AnyAddress || l.Peer.Prefix.Addr().Is4() && !l.Peer.IsAnyone() && l.Peer.Prefix.Bits() != 32 {
				rt.Fatalf("lease %+v", l)
			}
		}
		if len(got.Leases)+leftOut != len(c.Leases) {
			rt.Fatalf("%d leases, %d left out, of %d", len(got.Leases), leftOut, len(c.Leases))
		}
	})
	if _, _, err := Format(Contents{}, 1); err == nil {
		t.Error("format 1 is no error")
	}
}

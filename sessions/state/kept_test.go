package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

func keptLease(i int) Kept {
	a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	k := Kept{
		Service: "ssh", Operation: fmt.Sprintf("open-ssh-%d", i), Peer: access.PeerOf(a, access.PrefixHost), Address: a,
		Since: time.Unix(1_800_000_000+int64(i), 0), Secret: 0xfedc_ba98_7654_3210,
	}
	if i%2 == 0 {
		k.Client, k.ClientSecret = wire.Identifier([]byte("com1")), 1
	}
	return k
}

func keptFile(dir string) string { return filepath.Join(dir, KeptFileName) }

func TestKeptLeasesAreStored(t *testing.T) {
	dir := t.TempDir()
	if list, err := ReadKept(dir); err != nil || list != nil {
		t.Fatalf("no file: %v, %v", list, err)
	}
	want := []Kept{keptLease(1), keptLease(2)}
	six := keptLease(4)
	six.Address = netip.MustParseAddr("2001:db8:0:1::7")
	six.Peer, six.Anyone = access.PeerOf(six.Address, access.PrefixNetwork), true
	link := keptLease(5)
	link.Address = netip.MustParseAddr("fe80::7%3")
	link.Peer = access.PeerOf(link.Address, access.PrefixHost)
	four := keptLease(6)
	four.Peer = access.PeerIn(four.Address, 20, access.PrefixHost)
	ends := keptLease(8) // of knocks
	ends.Operation, ends.Secret, ends.End = "", 0, End{"6f1c", time.Hour + 1, 1_800_000_900}
	requested := keptLease(9)
	requested.End = ends.End
	want = append(want, six, link, four, ends, requested)
	if err := WriteKept(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadKept(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	if info, err := os.Stat(keptFile(dir)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if err := WriteKept(dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(keptFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without leases: %v", err)
	}
	if err := WriteKept(dir, make([]Kept, MaxKept+1)); err == nil {
		t.Error("more than MaxKept leases")
	}
}

// TestMostKeptLeasesFit: the largest list can be read again.
func TestMostKeptLeasesFit(t *testing.T) {
	dir := t.TempDir()
	k := keptLease(2)
	k.Service, k.Operation = strings.Repeat("s", 100), strings.Repeat("o", 16)
	k.Address = netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")
	k.Peer = access.PeerOf(k.Address, access.PrefixHost)
	list := make([]Kept, MaxKept)
	for i := range list {
		list[i] = k
	}
	if err := WriteKept(dir, list); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadKept(dir); err != nil || len(got) != MaxKept {
		t.Errorf("%d leases, %v", len(got), err)
	}
}

// TestEachDamageOpensNothing: a file of which any byte has changed, or any part is
// missing, yields no lease.
func TestEachDamageOpensNothing(t *testing.T) {
	dir := t.TempDir()
	if err := WriteKept(dir, []Kept{keptLease(1), keptLease(2)}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(keptFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, content []byte) {
		t.Helper()
		if list, err := decodeKept(content); err == nil || list != nil {
			t.Errorf("%s: %d leases, %v", what, len(list), err)
		}
	}
	for i := range whole {
		refused(fmt.Sprintf("without byte %d and the rest", i), whole[:i])
		for _, flip := range []byte{0x01, 0x20, 0x80} {
			damaged := bytes.Clone(whole)
			damaged[i] ^= flip
			if i < bytes.IndexByte(whole, '\n') {
				// A key of the header may differ in case only.
				if list, err := decodeKept(damaged); err == nil && len(list) != 2 {
					t.Errorf("byte %d: %d leases", i, len(list))
				}
				continue
			}
			refused(fmt.Sprintf("with bit %#x of byte %d", flip, i), damaged)
		}
	}
	refused("with more", append(bytes.Clone(whole), '\n'))
	if err := os.WriteFile(keptFile(dir), whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	var hinted interface{ Hint() string }
	_, err = ReadKept(dir)
	if !errors.As(err, &damaged) || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "lease close --all") {
		t.Errorf("damaged: %v", err)
	}
	if err := os.WriteFile(keptFile(dir), []byte(`{"version":4}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var newer *NewerError
	if _, err := ReadKept(dir); !errors.As(err, &newer) || newer.Path != keptFile(dir) ||
		!strings.Contains(err.Error(), "has format 4, this release reads formats up to 3") {
		t.Errorf("of a later release: %v", err)
	}
	if err := os.WriteFile(keptFile(dir), make([]byte, maxKeptFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKept(dir); !errors.As(err, &damaged) {
		t.Errorf("too large: %v", err)
	}
}

// TestEditKept: no command changes the leases of a server that runs.
func TestEditKept(t *testing.T) {
	dir := t.TempDir()
	if err := EditKept(t.Context(), filepath.Join(dir, "none"), false, nil); err != nil {
		t.Errorf("no directory: %v", err)
	}
	if err := WriteKept(dir, []Kept{keptLease(1), keptLease(2)}); err != nil {
		t.Fatal(err)
	}
	lock, err := TakeLock(t.Context(), dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := func(list []Kept) []Kept { return list[:1] }
	var locked *LockedError
	if err := EditKept(t.Context(), dir, false, first); !errors.As(err, &locked) {
		t.Errorf("while a server runs: %v", err)
	}
	lock.Close()
	if err := EditKept(t.Context(), dir, false, first); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadKept(dir); err != nil || len(list) != 1 || list[0] != keptLease(1) {
		t.Errorf("left: %v, %v", list, err)
	}
}

// TestRemoveDamagedKept: a file that cannot be read is removed only on request.
func TestRemoveDamagedKept(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(keptFile(dir), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func([]Kept) []Kept { return nil }
	var damaged *DamagedError
	if err := EditKept(t.Context(), dir, false, none); !errors.As(err, &damaged) {
		t.Errorf("damaged: %v", err)
	}
	if err := EditKept(t.Context(), dir, true, none); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(keptFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}

// TestResetKeepsNoLease: after a reset, no lease opens again, even one of an intact
// file: its end may be lost.
func TestResetKeepsNoLease(t *testing.T) {
	for _, content := range []string{"", "damaged"} {
		dir := t.TempDir()
		if err := Create(dir); err != nil {
			t.Fatal(err)
		}
		want := 1
		if err := WriteKept(dir, []Kept{keptLease(1)}); err != nil {
			t.Fatal(err)
		}
		if content != "" {
			want = 0
			if err := os.WriteFile(keptFile(dir), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		report, err := Reset(t.Context(), dir, time.Now(), true)
		if err != nil || report.LeasesEnded != want {
			t.Errorf("%+v, %v", report, err)
		}
		if list, err := ReadKept(dir); err != nil || list != nil {
			t.Errorf("left: %v, %v", list, err)
		}
	}
}

// TestKeptForAnyAddress: such a lease has no address. A file with one is of a version that earlier
// releases refuse, and one without of the version that they read.
func TestKeptForAnyAddress(t *testing.T) {
	dir, all := t.TempDir(), keptLease(1)
	all.Peer, all.Address = access.AnyAddress, netip.Addr{}
	for version, want := range map[string][]Kept{"1": {keptLease(1), keptLease(2)}, "2": {keptLease(1), all}} {
		if err := WriteKept(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadKept(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v", got, err)
		}
		content, err := os.ReadFile(keptFile(dir))
		if err != nil || !bytes.HasPrefix(content, []byte(`{"version":`+version+`,`)) {
			t.Errorf("version %s: %.20s, %v", version, content, err)
		}
	}
	for what, wrong := range map[string]func(*Kept){
		"any with an address":       func(l *Kept) { l.Address = netip.MustParseAddr("192.0.2.1") },
		"a peer without an address": func(l *Kept) { l.Peer = access.PeerOf(netip.MustParseAddr("192.0.2.1"), 128) },
		"anyone":                    func(l *Kept) { l.Peer = access.Anyone6 },
	} {
		l := all
		wrong(&l)
		content, err := encodeKept([]Kept{l})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeKept(content); err == nil {
			t.Errorf("%s: read %+v", what, got)
		}
	}
}

func FuzzDecodeKept(f *testing.F) {
	content, err := encodeKept([]Kept{keptLease(1), keptLease(2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"version":1,"leases":0,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}` + "\n"))
	// The checksum hides the lines from the fuzzer: it also gets them alone.
	_, line, _ := bytes.Cut(content, []byte("\n"))
	f.Add(line[:bytes.IndexByte(line, '\n')+1])
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeKept(b)
		if k, lineErr := decodeKeptLine(b); lineErr == nil {
			list, err = append(list, k), nil
		}
		if err != nil {
			return
		}
		again, err := encodeKept(list)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := decodeKept(again); err != nil || !reflect.DeepEqual(read, list) {
			t.Errorf("%+v became %+v, %v", list, read, err)
		}
	})
}

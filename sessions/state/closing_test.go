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

func closingCommand(i int) Closing {
	a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	c := Closing{
		ID: 0xfedc_ba98_7654_3210 + uint64(i), Service: "ssh", Client: wire.Identifier([]byte("com1")), Peer: access.PeerOf(a, access.PrefixHost), Address: a,
		Since: time.Unix(1_800_000_000+int64(i), 0),
	}
	if i%2 == 0 {
		c.Client, c.Operation, c.Port, c.Until = wire.Identifier{}, fmt.Sprintf("open-ssh-%d", i), 4000, c.Since.Add(time.Minute)
	}
	return c
}

func closingFile(dir string) string { return filepath.Join(dir, ClosingFileName) }

func TestClosingCommandsAreStored(t *testing.T) {
	dir := t.TempDir()
	if list, err := ReadClosing(dir); err != nil || list != nil {
		t.Fatalf("no file: %v, %v", list, err)
	}
	six, link := closingCommand(3), closingCommand(5)
	six.Address = netip.MustParseAddr("2001:db8:0:1::7")
	six.Peer = access.PeerOf(six.Address, access.PrefixNetwork)
	link.Address = netip.MustParseAddr("fe80::7%3")
	link.Peer = access.PeerOf(link.Address, access.PrefixHost)
	drawn := closingCommand(6)
	drawn.Peer.ISN, drawn.Peer.Port = 7, 12345
	four := closingCommand(7)
	four.Peer = access.PeerIn(four.Address, 20, access.PrefixHost)
	want := []Closing{closingCommand(1), closingCommand(2), six, link, drawn, four}
	if err := WriteClosing(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadClosing(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	if info, err := os.Stat(closingFile(dir)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	if err := WriteClosing(dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(closingFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without commands: %v", err)
	}
	if err := WriteClosing(dir, make([]Closing, MaxClosing+1)); err == nil {
		t.Error("more than MaxClosing commands")
	}
}

// TestMostClosingCommandsFit: the largest list can be read again.
func TestMostClosingCommandsFit(t *testing.T) {
	dir := t.TempDir()
	c := closingCommand(2)
	c.Service, c.Operation, c.Client = strings.Repeat("s", 100), strings.Repeat("o", 100), wire.Identifier([]byte("<>&\""))
	c.Address = netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")
	c.Peer = access.PeerOf(c.Address, access.PrefixHost)
	list := make([]Closing, MaxClosing)
	for i := range list {
		list[i] = c
	}
	if err := WriteClosing(dir, list); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadClosing(dir); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%d commands, %v", len(got), err)
	}
}

// TestDamagedClosingCommands: of a file of which any byte has changed, or any part is
// missing, the commands of the other lines are read, and never a command that was not
// written.
func TestDamagedClosingCommands(t *testing.T) {
	dir := t.TempDir()
	want := []Closing{closingCommand(1), closingCommand(2), closingCommand(3)}
	if err := WriteClosing(dir, want); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(closingFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	check := func(content []byte, least int) {
		t.Helper()
		got, err := decodeClosing(content)
		var newer *NewerError
		if err == nil {
			t.Fatalf("%q: read %+v", content, got)
		}
		errors.As(err, &newer)
		n := 0
		for _, c := range got {
			for _, w := range want {
				if reflect.DeepEqual(c, w) {
					n++
				}
			}
		}
		if n != len(got) || newer == nil && n < least {
			t.Fatalf("%q: read %+v", content, got)
		}
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 1
		check(b, 1)
		check(whole[:i], 0)
	}
	check(bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":3`), 1), 0)
	check(append(bytes.Clone(whole), whole[bytes.IndexByte(whole, '\n')+1:]...), 3)
	check(nil, 0)
}

// TestDamagedRecordIsKept: a server that replaces the file keeps the old one.
func TestDamagedRecordIsKept(t *testing.T) {
	dir := t.TempDir()
	record := ClosingRecord{dir, func() time.Time { return time.Unix(1_800_000_000, 0) }}
	if err := record.Write([]Closing{closingCommand(1), closingCommand(2)}); err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(closingFile(dir))
	damaged := bytes.Replace(whole, []byte("192.0.2.1"), []byte("192.0.2.9"), 1)
	os.WriteFile(closingFile(dir), damaged, 0o600)
	list, err := record.Read()
	if len(list) != 1 || !reflect.DeepEqual(list[0], closingCommand(2)) || err == nil {
		t.Errorf("read %+v, %v", list, err)
	}
	if err := record.Write(list); err != nil {
		t.Fatal(err)
	}
	if list, err := record.Read(); len(list) != 1 || err != nil {
		t.Errorf("written again: %+v, %v", list, err)
	}
	kept, _ := filepath.Glob(closingFile(dir) + ".*")
	if len(kept) != 1 {
		t.Fatalf("kept %v", kept)
	}
	if !strings.HasSuffix(err.Error(), "; the file is kept as "+kept[0]) {
		t.Errorf("the error does not name the file: %v", err)
	}
	if content, _ := os.ReadFile(kept[0]); !bytes.Equal(content, damaged) {
		t.Errorf("kept %q", content)
	}
}

// TestUnreadableRecordIsKept: a record for which the kernel refuses a second name, such
// as the file of another user, is renamed.
func TestUnreadableRecordIsKept(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(closingFile(dir), "inside")
	if err := os.MkdirAll(filepath.Dir(inside), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(inside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	record := ClosingRecord{Dir: dir}
	list, err := record.Read()
	var link *os.LinkError
	if len(list) != 0 || err == nil || errors.As(err, &link) {
		t.Errorf("read %+v, %v", list, err)
	}
	if err := record.Write([]Closing{closingCommand(1)}); err != nil {
		t.Fatal(err)
	}
	if kept, _ := filepath.Glob(closingFile(dir) + ".*/inside"); len(kept) != 1 {
		t.Errorf("kept %v", kept)
	}
}

// TestClosingForAnyAddress: such a lease has no address. A file with one is of a version that earlier
// releases refuse, and one without of the version that they read.
func TestClosingForAnyAddress(t *testing.T) {
	dir, all := t.TempDir(), closingCommand(1)
	all.Peer, all.Address = access.AnyAddress, netip.Addr{}
	for version, want := range map[string][]Closing{"1": {closingCommand(1), closingCommand(2)}, "2": {closingCommand(1), all}} {
		if err := WriteClosing(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadClosing(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v", got, err)
		}
		content, err := os.ReadFile(closingFile(dir))
		if err != nil || !bytes.HasPrefix(content, []byte(`{"version":`+version+`,`)) {
			t.Errorf("version %s: %.20s, %v", version, content, err)
		}
	}
	for what, wrong := range map[string]func(*Closing){
		"any with an address":       func(l *Closing) { l.Address = netip.MustParseAddr("192.0.2.1") },
		"a peer without an address": func(l *Closing) { l.Peer = access.PeerOf(netip.MustParseAddr("192.0.2.1"), 128) },
		"anyone":                    func(l *Closing) { l.Peer = access.Anyone6 },
	} {
		l := all
		wrong(&l)
		content, err := encodeClosing([]Closing{l})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeClosing(content); err == nil {
			t.Errorf("%s: read %+v", what, got)
		}
	}
}

func FuzzDecodeClosing(f *testing.F) {
	content, err := encodeClosing([]Closing{closingCommand(1), closingCommand(2)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	// The checksum hides the lines from the fuzzer: it also gets them alone.
	_, lines, _ := bytes.Cut(content, []byte("\n"))
	f.Add(lines[closingSum+1 : bytes.IndexByte(lines, '\n')])
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeClosing(b)
		if c, textErr := decodeClosingText(b); textErr == nil {
			list, err = []Closing{c}, nil
		}
		if err != nil {
			return
		}
		again, err := encodeClosing(list)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := decodeClosing(again); err != nil || !reflect.DeepEqual(read, list) {
			t.Errorf("%+v became %+v, %v", list, read, err)
		}
	})
}

// TestResetKeepsClosingCommands: what is open must still be closed.
func TestResetKeepsClosingCommands(t *testing.T) {
	for name, row := range map[string]struct {
		change func([]byte) []byte
		want   int
	}{
		"whole":        {func(b []byte) []byte { return b }, 2},
		"damaged":      {func(b []byte) []byte { return b[:len(b)-10] }, 1},
		"of a later":   {func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":9`), 1) }, -1},
		"nothing left": {func([]byte) []byte { return []byte("?") }, 0},
	} {
		dir := t.TempDir()
		if err := Create(dir); err != nil {
			t.Fatal(err)
		}
		if err := WriteClosing(dir, []Closing{closingCommand(1), closingCommand(2)}); err != nil {
			t.Fatal(err)
		}
		content, _ := os.ReadFile(closingFile(dir))
		os.WriteFile(closingFile(dir), row.change(content), 0o600)
		report, err := Reset(t.Context(), dir, time.Now(), false)
		if row.want < 0 {
			var newer *NewerError
			after, _ := os.ReadFile(closingFile(dir))
			if !errors.As(err, &newer) || !bytes.Equal(after, row.change(content)) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		list, readErr := ReadClosing(dir)
		if err != nil || readErr != nil || report.Closing != row.want || len(list) != row.want {
			t.Errorf("%s: %+v, %v; left %v, %v", name, report, err, list, readErr)
		}
	}
}

package state

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"sallyport/sessions"
	"sallyport/sessions/durable"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// format is a file of a state directory. Each of its versions so far is kept in testdata,
// as a release with that version wrote it: this release must read all of them.
type format struct {
	latest int
	kept   string                    // the path of the file of a version, for Sprintf
	read   func([]byte) (any, error) // reads its content
	want   map[int]any               // what it has, by version
	later  func(text []byte) []byte  // one version later than the latest; nil: tested elsewhere
}

// formats are those of all files that a later release may change. The record of trials has
// its own, in the package that writes it.
func formats(t *testing.T) map[string]format {
	a, six := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8:0:1::7")
	client, since := wire.Identifier([]byte("com1")), time.Unix(1_800_000_000, 0)
	one := Kept{Service: "ssh", Operation: "hold", Peer: access.PeerOf(a, access.PrefixHost), Address: a, Since: since, Secret: 0x0123456789abcdef}
	two := Kept{
		Service: "ssh", Operation: "hold-com1", Client: client, Peer: access.PeerOf(six, access.PrefixNetwork), Address: six,
		Anyone: true, Since: since, Secret: 2, ClientSecret: 3,
	}
	any2 := two
	any2.Peer, any2.Address = access.AnyAddress, netip.Addr{}
	ends := Kept{
		Service: "ssh", Client: client, Peer: one.Peer, Address: a, Since: since, ClientSecret: 3,
		End: End{"6f1c", time.Hour + 1, 1_800_000_900},
	}
	first := Closing{ID: 7, Service: "web", Client: client, Address: a, Peer: one.Peer, Since: since, Until: since.Add(time.Minute)}
	second := Closing{ID: 8, Service: "web", Operation: "hold", Address: six, Peer: two.Peer, Port: 4711, Since: since}
	anySecond := second
	anySecond.Peer, anySecond.Address = access.AnyAddress, netip.Addr{}

	nonces := []sessions.Entry{used('1', 12), used('2', 0), used('3', 4_000_000_000)}
	converted := slices.Clone(nonces) // the first formats have no secrets
	for i := range converted {
		converted[i].Secret = 0
	}
	header := regexp.MustCompile(`"version":(\d+)`)
	later := func(text []byte) []byte { return header.ReplaceAll(text, []byte(`"version":99`)) }
	return map[string]format{
		FileName: {version, "form%d.db", func(text []byte) (any, error) {
			path := filepath.Join(t.TempDir(), FileName)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				return nil, err
			}
			c, err := ReadFile(path)
			if err != nil {
				return nil, err
			}
			return c.Entries, nil
		}, map[int]any{1: converted, 2: converted, 3: nonces}, nil}, // TestLaterFormatIsRefused
		KeptFileName: {keptVersion, "formats/open-leases-%d", func(text []byte) (any, error) { return decodeKept(text) },
			map[int]any{1: []Kept{one, two}, 2: []Kept{one, any2}, 3: []Kept{ends}}, later},
		ClosingFileName: {closingVersion, "formats/closing-commands-%d", func(text []byte) (any, error) { return decodeClosing(text) },
			map[int]any{1: []Closing{first, second}, 2: []Closing{first, anySecond}}, later},
		UsesFileName: {usesVersion, "formats/operation-uses-%d", func(text []byte) (any, error) {
			list, id, err := decodeUses(text)
			if err == nil && id != (durable.Identity{Inode: 42, Born: 43}) {
				err = fmt.Errorf("of the file %+v", id)
			}
			return list, err
		}, map[int]any{1: []Use{{UseKey: UseKey{"guest", 5}, Used: 2}, {UseKey: UseKey{"once", 6}, Unknown: true}}}, later},
	}
}

// TestFormatsSoFar reads a file of each version of each format. A new version requires a
// new file: later releases cannot write one of the old version.
func TestFormatsSoFar(t *testing.T) {
	for name, f := range formats(t) {
		if len(f.want) != f.latest {
			t.Errorf("%s has %d versions, of which %d are kept", name, f.latest, len(f.want))
		}
		for v := 1; v <= f.latest; v++ {
			text, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf(f.kept, v)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.read(text)
			if err != nil || !reflect.DeepEqual(got, f.want[v]) {
				t.Errorf("%s of version %d: %+v, %v, want %+v", name, v, got, err, f.want[v])
			}
			if f.later == nil {
				continue
			}
			var newer *NewerError
			_, err = f.read(f.later(text))
			if !errors.As(err, &newer) || newer.Version != 99 || newer.Latest != uint32(f.latest) {
				t.Errorf("%s of a later version: %v", name, err)
			}
		}
	}
}

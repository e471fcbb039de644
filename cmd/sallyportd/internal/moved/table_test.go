package moved

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"sallyport/sessions/gate"
	"sallyport/sessions/gate/relay"
	"sallyport/verify"
	"sallyport/verify/verifytest"
	"sallyport/verify/wire"
)

// TestTable: what is written is read again, whatever a connection is.
func TestTable(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var rows []row
		var want []Connection
		for range random.IntN(20) {
			c := Connection{Moved: gate.Moved{Service: "s\n:", Upstream: relay.Upstream("unix:/\x01 ü"), Proved: random.IntN(2) == 0, Leased: random.IntN(2) == 0}}
			for range 1 + random.IntN(8) {
				var id wire.Identifier
				for i := range id {
					id[i] = byte(random.Uint32())
				}
				c.Owners, c.Secrets = append(c.Owners, id), append(c.Secrets, verify.Fingerprint(random.Uint64()))
			}
			want = append(want, c)
			rows = append(rows, rowOf(c, random.Uint64()|1, random.Uint64()&^1|2))
		}
		text, err := encode(rows)
		if err != nil {
			t.Fatal(err)
		}
		read, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		var got []Connection
		for _, r := range read {
			got = append(got, r.connection())
		}
		if !reflect.DeepEqual(got, want) || len(rows) > 0 && !reflect.DeepEqual(read, rows) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// TestOtherTables: a table of another release, or one that is not whole, has no rows.
func TestOtherTables(t *testing.T) {
	id := verifytest.ID("com1")
	good := row{Service: "ssh", Upstream: "127.0.0.1:22", Owners: []owner{{id[:], 1}}, Client: 1, Server: 2}
	change := func(f func(*row)) table {
		r := good
		f(&r)
		return table{version, []row{r}}
	}
	for name, tt := range map[string]table{
		"another version":     {version + 1, []row{good}},
		"no version":          {0, []row{good}},
		"too many rows":       {version, make([]row, MaxConnections+1)},
		"no service":          change(func(r *row) { r.Service = "" }),
		"no upstream":         change(func(r *row) { r.Upstream = "" }),
		"no owner":            change(func(r *row) { r.Owners = nil }),
		"no socket":           change(func(r *row) { r.Client = 0 }),
		"one socket":          change(func(r *row) { r.Client = r.Server }),
		"a long identifier":   change(func(r *row) { r.Owners = []owner{{append(id[:], 0), 1}} }),
		"a socket twice":      {version, []row{good, good}},
		"a socket both sides": {version, []row{good, change(func(r *row) { r.Client, r.Server = 2, 3 }).Connections[0]}},
	} {
		text, err := json.Marshal(tt)
		if err != nil {
			t.Fatal(err)
		}
		if rows, err := decode(text); err == nil {
			t.Errorf("%s: %+v", name, rows)
		}
	}
	text, err := encode([]row{good})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"an unknown key": bytes.Replace(text, []byte(`"service"`), []byte(`"x":1,"service"`), 1),
		"half of it":     text[:len(text)/2],
		"nothing":        nil,
	} {
		if rows, err := decode(text); err == nil {
			t.Errorf("%s: %+v", name, rows)
		}
	}
	if rows, err := decode(text); err != nil || len(rows) != 1 {
		t.Errorf("got %+v, %v", rows, err)
	}
}

func FuzzDecode(f *testing.F) {
	id := verifytest.ID("com1")
	text, err := encode([]row{{Service: "ssh", Upstream: "127.0.0.1:22", Owners: []owner{{id[:], 1}}, Client: 1, Server: 2}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := decode(text)
		if err != nil {
			return
		}
		for _, r := range rows {
			r.connection()
		}
		again, err := encode(rows)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decode(again); err != nil || len(same) != len(rows) {
			t.Fatalf("%q is read as %+v, %v", again, same, err)
		}
	})
}

// TestName: the name of descriptors has the version, and fits the manager's rules.
func TestName(t *testing.T) {
	for name, want := range map[string][2]bool{
		Name: {true, true}, prefix + "0": {false, true}, Name + "1": {false, true}, prefix: {false, true}, "": {}, "x.socket": {}, "stored": {},
	} {
		if known, ours := IsName(name); [2]bool{known, ours} != want {
			t.Errorf("%q: %t, %t", name, known, ours)
		}
	}
	if len(Name) > 255 || strings.ContainsAny(Name, ": \n\x7f") {
		t.Errorf("%q is no name", Name)
	}
}

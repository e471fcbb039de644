package helper

import (
	"bytes"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

var examples = []Change{
	{Kind: Open, Number: 1, For: 10 * time.Second, Address: netip.MustParseAddr("192.0.2.1")},
	{Kind: Open, Number: 2, For: time.Millisecond, Address: netip.MustParseAddr("2001:db8::1")},
	{Kind: Open, Number: 3, For: 1000 * time.Hour},
	{Kind: Close, Number: 1, Address: netip.MustParseAddr("192.0.2.1")},
	{Kind: Cut, Number: 65535, Address: netip.MustParseAddr("2001:db8::")},
	{Kind: Knock, Number: 1025, For: 3 * time.Minute},
	{Kind: Exit},
}

func encode(t testing.TB, changes ...Change) (b []byte) {
	t.Helper()
	for _, c := range changes {
		var err error
		if b, err = c.AppendBinary(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestChangesComeAsTheyWere(t *testing.T) {
	got, err := Parse(encode(t, examples...))
	if err != nil || !reflect.DeepEqual(got, examples) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := (Change{For: 50 * 24 * time.Hour}).AppendBinary(nil); err == nil {
		t.Error("a time too long for the message was cut short")
	}
	if _, err := (Change{For: -time.Second}).AppendBinary(nil); err == nil {
		t.Error("a time that is over was sent")
	}
}

func TestParseRefuses(t *testing.T) {
	good := encode(t, examples[0])
	broken := func(at int, b byte) []byte {
		c := bytes.Clone(good)
		c[at] = b
		return c
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "half a change": good[:changeSize-1], "a byte too many": append(bytes.Clone(good), 0),
		"too many changes": bytes.Repeat(good, MaxChanges+1),
		"no kind":          broken(0, 0), "a kind that is none": broken(0, byte(Exit)+1),
		"a family that is none": broken(1, 5), "something behind the address": broken(changeSize-1, 1),
		"an address of no family": broken(1, 0),
		"a mapped address":        encodeRaw(byte(Open), 6, netip.MustParseAddr("::ffff:192.0.2.1")),
	} {
		if got, err := Parse(b); err == nil {
			t.Errorf("%s: parsed as %v", name, got)
		}
	}
}

func encodeRaw(kind, family byte, a netip.Addr) []byte {
	b := make([]byte, changeSize)
	b[0], b[1] = kind, family
	address := a.As16()
	copy(b[8:], address[:])
	return b
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, examples...))
	for _, c := range examples {
		f.Add(encode(f, c))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		changes, err := Parse(b)
		if err != nil {
			return
		}
		if again := encode(t, changes...); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

func TestPolicy(t *testing.T) {
	p := Policy{
		Services: []Service{{OpenMax: time.Minute}, {OpenMax: time.Hour, Anyone: true}},
		Taken:    []uint16{51820},
	}
	knocker := netip.MustParseAddr("192.0.2.1")
	for _, row := range []struct {
		change Change
		want   string // of the refusal; empty: none
	}{
		{Change{Kind: Open, Number: 0, For: time.Minute, Address: knocker}, ""},
		{Change{Kind: Open, Number: 0, For: time.Minute + 1, Address: knocker}, "are the most"},
		{Change{Kind: Open, Number: 0, For: 0, Address: knocker}, "are the most"},
		{Change{Kind: Open, Number: 2, For: time.Second, Address: knocker}, "no service 2"},
		{Change{Kind: Open, Number: 0, For: time.Second}, "somebody else"},
		{Change{Kind: Open, Number: 1, For: time.Hour}, ""},
		{Change{Kind: Open, Number: 1, For: time.Hour, Address: knocker}, "somebody else"},
		{Change{Kind: Open, Number: 0, For: time.Second, Address: netip.IPv6Unspecified()}, "nobody"},
		{Change{Kind: Open, Number: 0, For: time.Second, Address: netip.MustParseAddr("224.0.0.1")}, "nobody"},
		{Change{Kind: Close, Number: 0, Address: knocker}, ""},
		{Change{Kind: Close, Number: 1}, ""},
		{Change{Kind: Cut, Number: 0, Address: knocker}, ""},
		{Change{Kind: Cut, Number: 9, Address: knocker}, "no service 9"},
		{Change{Kind: Knock, Number: 1025, For: 3 * time.Minute}, ""},
		{Change{Kind: Knock, Number: 1024, For: time.Minute}, "port 1024"},
		{Change{Kind: Knock, Number: 1025, For: 3*time.Minute + 1}, "port 1025"},
		{Change{Kind: Knock, Number: 51820, For: time.Minute}, "port 51820"},
		{Change{Kind: Exit}, ""},
	} {
		err := p.check(row.change)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%+v: %v", row.change, err)
		}
	}
}

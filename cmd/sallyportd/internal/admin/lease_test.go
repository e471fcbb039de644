package admin

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"sallyport/sessions/gate/access"
)

// TestLeases: all leases arrive, and the conditions of a request at the server.
func TestLeases(t *testing.T) {
	until := time.Unix(1_800_000_000, 0).UTC()
	list := make([]Lease, 5000) // more than another answer may have
	for i := range list {
		list[i] = Lease{Service: "ssh", Client: "com1", Peer: netip.MustParsePrefix("192.0.2.1/32"), Since: until, InForce: true}
	}
	list[1].Until = &until
	var asked Closing
	closings := 0
	c := serve(t, Handlers{
		Leases: func() []Lease { return list },
		CloseLeases: func(a Closing) Closed {
			asked = a
			closings++
			return Closed{Leases: list[:2], Unrecorded: "no space"}
		},
	})
	if got, err := c.Leases(t.Context()); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%d leases, %v", len(got), err)
	}
	want := Closing{Which{Service: "ssh", Client: "com1", Operation: "hold", Peer: netip.MustParsePrefix("2001:db8::/32")}, true}
	done, err := c.CloseLeases(t.Context(), want)
	if err != nil || asked != want || done.Unrecorded != "no space" || !reflect.DeepEqual(done.Leases, list[:2]) {
		t.Errorf("asked %+v, got %+v, %v", asked, done, err)
	}
	if _, err := c.CloseLeases(t.Context(), Closing{}); err != nil || asked != (Closing{}) {
		t.Errorf("all: asked %+v, %v", asked, err)
	}
	// A condition that the server does not know closes nothing.
	for _, text := range []string{`{"clientt":"com1"}`, `{"peer":"here"}`, `{`, ``} {
		body, err := c.ask(t.Context(), http.MethodPost, "/leases/close", bytes.NewReader([]byte(text)))
		if err == nil {
			io.Copy(io.Discard, body)
			body.Close()
			t.Errorf("%q: accepted", text)
		}
	}
	if closings != 2 {
		t.Errorf("%d requests", closings)
	}
}

func TestWhichLeases(t *testing.T) {
	l := Lease{Service: "ssh", Client: "com1", Operation: "hold", Peer: netip.MustParsePrefix("2001:db8:0:1::/64")}
	for _, row := range []struct {
		which Which
		want  bool
	}{
		{Which{}, true},
		{Which{Service: "ssh", Client: "com1", Operation: "hold"}, true},
		{Which{Service: "web", Client: "com1"}, false},
		{Which{Client: "com2"}, false},
		{Which{Operation: "other"}, false},
		{Which{Peer: netip.MustParsePrefix("2001:db8:0:1::7/128")}, true},
		{Which{Peer: netip.MustParsePrefix("2001:db8::/32")}, true},
		{Which{Peer: netip.MustParsePrefix("2001:db8:0:2::/64")}, false},
		{Which{Peer: netip.MustParsePrefix("0.0.0.0/0")}, false},
	} {
		if got := row.which.Matches(l); got != row.want {
			t.Errorf("%+v: %v", row.which, got)
		}
	}
}

// TestAnyAddressMatchesEachAddress: a lease for any address admits those of both families.
func TestAnyAddressMatchesEachAddress(t *testing.T) {
	l := Lease{Service: "ssh", Peer: access.AnyAddress.Prefix, Zone: access.AnyAddress.Zone}
	for _, p := range []string{"192.0.2.1/32", "10.0.0.0/8", "2001:db8::1/128"} {
		if !(Which{Peer: netip.MustParsePrefix(p)}).Matches(l) {
			t.Errorf("%s does not select it", p)
		}
	}
	if (Which{Service: "web"}).Matches(l) || !l.AnyAddress() || (Lease{Peer: access.Anyone6.Prefix}).AnyAddress() {
		t.Error("of another service, or another lease")
	}
}

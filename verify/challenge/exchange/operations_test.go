package exchange

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/verify/challenge"
)

func plan(bits int) challenge.Plan {
	e := challenge.Encoding{Scheme: challenge.Ranges, Base: 1025, DataBits: bits}
	responses := e
	responses.Base = 40000
	return challenge.Plan{Request: e, Response: responses, Ports: challenge.Ports{First: 1025, Last: 65535}}
}

func mustOperation(t testing.TB, id string, a Algorithm, random bool) *Operation {
	t.Helper()
	o, err := NewOperation(id, "secret of "+id, a, random)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOperationsAgainstEachOther(t *testing.T) {
	one := mustOperation(t, "ssh-alice", NATAware, false)
	longer := mustOperation(t, "ssh-alice-home", NATAware, false)
	wide, overlapping, narrow := plan(8), plan(8), plan(8)
	wide.Response.DataBits = 12
	overlapping.Response.Base = 1100
	narrow.Ports.Last = 40100
	many := make([]*Operation, MaxOperations+1)
	for i := range many {
		many[i] = mustOperation(t, fmt.Sprintf("many-%03d", i), Unilateral, false)
	}
	for want, c := range map[string]struct {
		list []*Operation
		plan challenge.Plan
	}{
		"the ID occurs twice":         {[]*Operation{one, mustOperation(t, "ssh-alice", Mutual, false)}, plan(8)},
		"the beginning of the other":  {[]*Operation{one, longer}, plan(8)},
		"would count as one of a":     {[]*Operation{one}, overlapping},
		"only 1025 to 40100 are":      {[]*Operation{one}, narrow},
		"at most 256 operations":      {many, plan(8)},
		"got 57344 ports from 40000,": {[]*Operation{one}, wide},
	} {
		if _, err := NewOperations(c.list, c.plan); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestNothingIsAmplified: with every operation and encoding, a challenge has at
// most as many bytes as the packets of its request, headers included.
func TestNothingIsAmplified(t *testing.T) {
	for a := Unilateral; a <= Mutual+1; a++ { // the last one: with public keys
		for n := MinID; n <= MaxID; n++ {
			o := mustOperation(t, strings.Repeat("x", n), min(a, Mutual), true)
			if a > Mutual {
				o = mustSigned(t, strings.Repeat("x", n), true).server
			}
			for _, v6 := range []bool{false, true} {
				headers := 20 + 8
				if v6 {
					headers = 40 + 8
				}
				packets := (8*o.RequestSize(v6) + 15) / 16 // at 16 bits a packet, the maximum
				if in, out := packets*headers, headers+o.ChallengeSize(v6); out > in {
					t.Errorf("algorithm %d, ID of %d bytes, IPv6 %v: %d bytes answer %d", a, n, v6, out, in)
				}
			}
		}
	}
}

// TestResponderAcceptsOnlyOperations: a Responder accepts packets as long as they
// continue the ID of an operation.
func TestResponderAcceptsOnlyOperations(t *testing.T) {
	alice, bob := mustOperation(t, "ssh-alice", NATAware, false), mustOperation(t, "ssh-bobby", NATAware, false)
	ops, err := NewOperations([]*Operation{alice, bob}, plan(8))
	if err != nil {
		t.Fatal(err)
	}
	r := &NewResponders(1, ops)[0]
	kind := ops.kinds[0][0]
	port := func(index int, data byte) uint16 { return 1025 + uint16(index)<<8 + uint16(data) }
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		id       string
		accepted bool
	}{{"ssh-alice", true}, {"ssh-bobby", true}, {"ssh-blice", false}, {"tsh", false}, {"ssh-aobby", false}} {
		r.Begin(kind)
		accepted := true
		for i := range len(c.id) {
			accepted = accepted && r.Request(port(i, c.id[i]), now)
		}
		if accepted != c.accepted {
			t.Errorf("%q: %v", c.id, accepted)
		}
	}
	r.Begin(kind)
	// Packets after the ID may arrive first; they have no bits of an ID.
	if !r.Request(port(12, 7), now) || r.Known() != 0 || !r.Request(port(0, 's'), now) || r.Known() != 8 {
		t.Errorf("%d bits known", r.Known())
	}
}

func FuzzResponder(f *testing.F) {
	list := []*Operation{
		mustOperation(f, "ssh-alice", NATAware, false), mustOperation(f, "ssh-bob", Mutual, true),
		mustOperation(f, "web-x", Unilateral, false),
	}
	ops, err := NewOperations(list, plan(8))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), []byte("\x04\x01\x04\x74"))
	f.Fuzz(func(t *testing.T, which uint8, packets []byte) {
		r := &NewResponders(1, ops)[0]
		kind := ops.kinds[which%2][int(which/2)%len(ops.kinds[0])]
		r.Begin(kind)
		now := time.Unix(1_700_000_000, 0)
		server := netip.IPv4Unspecified()
		if kind.v6 {
			server = netip.IPv6Unspecified()
		}
		for ; len(packets) >= 2; packets = packets[2:] {
			port := uint16(packets[0])<<8 | uint16(packets[1])
			switch r.State() {
			case Requesting:
				if !r.Request(port, now) {
					r.Begin(kind)
				}
			case Requested:
				if _, err := r.Challenge(nil, server, server, [NonceSize]byte{byte(port)}, 2000); err != nil {
					t.Fatal(err)
				}
			case Challenged:
				r.Response(port, now)
			case Verified:
				t.Fatal("verified without the secret")
			case Free:
				r.Begin(kind)
			}
		}
	})
}

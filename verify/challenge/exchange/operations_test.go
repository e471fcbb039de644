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
	wide, meets, narrow := plan(8), plan(8), plan(8)
	wide.Response.DataBits = 12
	meets.Response.Base = 1100
	narrow.Ports.Last = 40100
	many := make([]*Operation, MaxOperations+1)
	for i := range many {
		many[i] = mustOperation(t, fmt.Sprintf("many-%03d", i), Unilateral, false)
	}
	for want, c := range map[string]struct {
		list []*Operation
		plan challenge.Plan
	}{
		"there are two of that ID":      {[]*Operation{one, mustOperation(t, "ssh-alice", Mutual, false)}, plan(8)},
		"is the beginning of the other": {[]*Operation{one, mustOperation(t, "ssh-alice-home", NATAware, false)}, plan(8)},
		"would be one of a response":    {[]*Operation{one}, meets},
		"where 1025 to 40100 are":       {[]*Operation{one}, narrow},
		"where 256 are the most":        {many, plan(8)},
		"takes 57344 ports from 40000":  {[]*Operation{one}, wide},
	} {
		if _, err := NewOperations(c.list, c.plan); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestNothingIsAmplified: whatever the operation and the encoding, a challenge
// has no more bytes than the request that it answers, headers included.
func TestNothingIsAmplified(t *testing.T) {
	for a := Unilateral; a <= Mutual; a++ {
		for n := MinID; n <= MaxID; n++ {
			o := mustOperation(t, strings.Repeat("x", n), a, true)
			for _, v6 := range []bool{false, true} {
				headers := 20 + 8
				if v6 {
					headers = 40 + 8
				}
				packets := (8*o.RequestSize(v6) + 15) / 16 // the fewest
				if in, out := packets*headers, headers+o.ChallengeSize(v6); out > in {
					t.Errorf("algorithm %d, ID of %d bytes, IPv6 %v: %d bytes answer %d", a, n, v6, out, in)
				}
			}
		}
	}
}

// TestServerTakesOnlyOperations: a request is taken while it continues a
// configured ID at its place.
func TestServerTakesOnlyOperations(t *testing.T) {
	alice, bob := mustOperation(t, "ssh-alice", NATAware, false), mustOperation(t, "ssh-bobby", NATAware, false)
	ops, err := NewOperations([]*Operation{alice, bob}, plan(8))
	if err != nil {
		t.Fatal(err)
	}
	s := &NewResponders(1, ops)[0]
	kind := ops.kinds[0][0]
	port := func(place int, data byte) uint16 { return 1025 + uint16(place)<<8 + uint16(data) }
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		say   string
		taken bool
	}{{"ssh-alice", true}, {"ssh-bobby", true}, {"ssh-blice", false}, {"tsh", false}, {"ssh-aobby", false}} {
		s.Begin(kind)
		taken := true
		for i := range len(c.say) {
			taken = taken && s.Request(port(i, c.say[i]), now)
		}
		if taken != c.taken {
			t.Errorf("%q: %v", c.say, taken)
		}
	}
	s.Begin(kind)
	// What lies behind the ID may come first: that is no ID's.
	if !s.Request(port(12, 7), now) || s.Known() != 0 || !s.Request(port(0, 's'), now) || s.Known() != 8 {
		t.Errorf("%d bits known", s.Known())
	}
}

func FuzzServer(f *testing.F) {
	list := []*Operation{mustOperation(f, "ssh-alice", NATAware, false), mustOperation(f, "ssh-bob", Mutual, true), mustOperation(f, "web-x", Unilateral, false)}
	ops, err := NewOperations(list, plan(8))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), []byte("\x04\x01\x04\x74"))
	f.Fuzz(func(t *testing.T, which uint8, packets []byte) {
		s := &NewResponders(1, ops)[0]
		kind := ops.kinds[which%2][int(which/2)%len(ops.kinds[0])]
		s.Begin(kind)
		now := time.Unix(1_700_000_000, 0)
		server := netip.IPv4Unspecified()
		if kind.v6 {
			server = netip.IPv6Unspecified()
		}
		for ; len(packets) >= 2; packets = packets[2:] {
			port := uint16(packets[0])<<8 | uint16(packets[1])
			switch s.State() {
			case Requesting:
				if !s.Request(port, now) {
					s.Begin(kind)
				}
			case Requested:
				if _, err := s.Challenge(nil, server, server, [NonceSize]byte{byte(port)}, 2000); err != nil {
					t.Fatal(err)
				}
			case Challenged:
				s.Response(port, now)
			case Granted:
				t.Fatal("granted without the secret")
			case Free:
				s.Begin(kind)
			}
		}
	})
}

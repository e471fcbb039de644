package exchange

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/schedule"
)

func TestHopVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/hops.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Valid []struct {
			ID         string
			PortSecret string `json:"port_secret"`
			Minute     schedule.Minute
			Hop        uint16
			Operation  string
			Algorithm  Algorithm
			Self       netip.Addr
			NonceB     string `json:"nonce_b"`
			Scheme     challenge.Scheme
			Base       uint16
			Data       int `json:"data_bits"`
			Sequence   int `json:"sequence_bits"`
			Request    string
			Masked     string
			Distance   uint16
			Ports      []uint16
		}
	}
	if err := json.Unmarshal(b, &file); err != nil || len(file.Valid) == 0 {
		t.Fatalf("%d rows, %v", len(file.Valid), err)
	}
	for _, v := range file.Valid {
		t.Run(v.ID, func(t *testing.T) {
			op, err := NewOperation(v.Operation, "a secret", v.Algorithm, false)
			if err != nil {
				t.Fatal(err)
			}
			nonce, err := hex.DecodeString(v.NonceB)
			if err != nil {
				t.Fatal(err)
			}
			i, err := NewInitiator(op, v.Self, v.Self, [NonceSize]byte(nonce))
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(i.Request()); got != v.Request {
				t.Errorf("request %s", got)
			}
			key := schedule.HopKeyOf(v.PortSecret)
			h := key.Hop(v.Minute, v.Hop)
			i.Hop(h)
			if got := hex.EncodeToString(i.Request()); got != v.Masked || h.Distance != v.Distance {
				t.Errorf("masked %s, distance %d", got, h.Distance)
			}
			e := challenge.Encoding{Scheme: v.Scheme, Base: v.Base, DataBits: v.Data, SequenceBits: v.Sequence}
			if v.Scheme == challenge.Delays {
				e.Delay = 10 * time.Millisecond
			}
			c, err := e.Codec(len(i.Request()))
			if err != nil {
				t.Fatal(err)
			}
			ports, err := c.Moved(h.Distance).AppendPorts(nil, i.Request())
			if err != nil || !slices.Equal(ports, v.Ports) {
				t.Errorf("ports %v, %v", ports, err)
			}
			// The server reads the same packets as a request, and the packets of the
			// minute before or after as none.
			plan := challenge.Plan{
				Request: e, Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 50000, DataBits: 8},
				Ports: challenge.Ports{First: 1, Last: 65535}, Hop: v.Hop, NoIPv4: v.Self.Is6(), NoIPv6: v.Self.Is4(),
			}
			all, err := NewOperations([]*Operation{op}, plan)
			if err != nil {
				t.Fatal(err)
			}
			all.SetHopping(Hopping{Keys: func(schedule.Minute) []schedule.HopKey { return []schedule.HopKey{key} }, Tolerance: 5 * time.Second})
			m, now := NewMinutes(all), v.Minute.Start().Add(30*time.Second)
			if n := len(m.Kinds(v.Self)); n != 0 {
				t.Fatalf("%d kinds before Turn", n)
			}
			for _, minutes := range []time.Duration{0, 1, -1} {
				m.Turn(now.Add(minutes * time.Minute))
				if n := len(m.Kinds(v.Self)); n != 1 {
					t.Fatalf("%d kinds", n)
				}
				r := NewResponders(1, all)[0]
				r.Begin(m.Kinds(v.Self)[0])
				at := now
				for _, port := range ports {
					at = at.Add(e.Delay)
					r.Request(port, at)
				}
				if got, want := r.State() == Requested, minutes == 0; got != want {
					t.Errorf("%d minutes later: the request was complete: %t", minutes, got)
				}
			}
		})
	}
}

// TestTurn: at each time the kinds are those of the live minutes, by all keys, and a
// kind stays the same as long as its minute is live. A clock that is set back makes
// earlier minutes live again.
func TestTurn(t *testing.T) {
	op, err := NewOperation("ssh-alice", "a secret", NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	plan := challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 1000, DataBits: 4},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 20000, DataBits: 4},
		Ports:    challenge.Ports{First: 1000, Last: 40000}, Hop: 10000,
	}
	all, err := NewOperations([]*Operation{op}, plan)
	if err != nil {
		t.Fatal(err)
	}
	current, previous := schedule.HopKeyOf("current"), schedule.HopKeyOf("previous")
	base := schedule.Minute(29_000_000)
	all.SetHopping(Hopping{Tolerance: 10 * time.Second, Keys: func(m schedule.Minute) []schedule.HopKey {
		if m < base+2 {
			return []schedule.HopKey{current, previous}
		}
		return []schedule.HopKey{current}
	}})
	m := NewMinutes(all)
	client := netip.MustParseAddr("10.0.0.7")
	at := func(seconds int) []*Kind {
		m.Turn(base.Start().Add(time.Duration(seconds) * time.Second))
		return m.Kinds(client)
	}
	middle := slices.Clone(at(30))
	if len(middle) != 2 || middle[0] == middle[1] {
		t.Fatalf("kinds %v", middle)
	}
	turn := slices.Clone(at(55))
	if len(turn) != 4 || !slices.Equal(turn[:2], middle) {
		t.Errorf("near the turn: %v, before %v", turn, middle)
	}
	if next := at(70); len(next) != 2 || !slices.Equal(next, turn[2:]) {
		t.Errorf("after the turn and the tolerance: %v", next)
	}
	if n := len(at(125)); n != 3 {
		t.Errorf("%d kinds, where the previous key ends", n)
	}
	if n := len(at(150)); n != 1 {
		t.Errorf("%d kinds, after the previous key", n)
	}
	if back := at(30); len(back) != 2 || back[0].requests.Ports() != middle[0].requests.Ports() {
		t.Errorf("after the clock was set back: %v", back)
	}
	if n := all.MaxKinds(); n < 4 {
		t.Errorf("MaxKinds %d", n)
	}
}

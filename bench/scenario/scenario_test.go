package scenario

import (
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"sallyport/ingest/xdp"
	"sallyport/sessions/client"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// TestEachKindIsRefusedForItsReason, by the reasons of package verify.
func TestEachKindIsRefusedForItsReason(t *testing.T) {
	now := time.Unix(1_760_000_030, 0)
	for _, k := range All {
		n := max(k.Ports, 2)
		a := aim(n, now)
		places := map[uint16][]schedule.Place{}
		for i, p := range must(t)(schedule.Ports(schedule.Algorithm1, "port secret", schedule.MinuteOf(now), n)) {
			places[p] = append(places[p], schedule.Place{Minute: schedule.MinuteOf(now), Index: int8(i)})
		}
		v := verifier(t, a, n)
		shots, err := k.Shots(a, 300)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shots {
			at, open := places[s.Port]
			if !open {
				if k.Reasons != nil {
					t.Errorf("%s: to port %d, which is closed", k.Name, s.Port)
				}
				continue
			}
			_, reason := v.Verify(s.Payload, at, now.Unix())
			want := verify.Authentic // a replay is authentic
			if !k.Replayed {
				if k.Reasons == nil {
					t.Fatalf("%s: to port %d, which is open", k.Name, s.Port)
				}
				if reason.String() != k.Reasons[0] {
					t.Fatalf("%s: refused for %s", k.Name, reason)
				}
			} else if reason != want {
				t.Fatalf("%s: refused for %s", k.Name, reason)
			}
		}
		if !regexp.MustCompile(`^[a-z-]+$`).MatchString(k.Name) || k.Title == "" {
			t.Errorf("%q has the title %q", k.Name, k.Title)
		}
		if got, ok := ByName(k.Name); !ok || got.Title != k.Title {
			t.Errorf("did not find %s", k.Name)
		}
	}
	if _, ok := ByName("nothing"); ok {
		t.Error(`found "nothing"`)
	}
}

func must(t *testing.T) func([]uint16, error) []uint16 {
	return func(p []uint16, err error) []uint16 {
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

func aim(n int, now time.Time) Aim {
	a := Aim{Clients: 50, Now: now, Random: rand.New(rand.NewPCG(1, 2))}
	for i := range a.Clients {
		a.Profiles = append(a.Profiles, client.Profile{
			Server: "198.51.100.1", PortSecret: "port secret", Ports: n, Identifier: ClientID(i), Secret: []byte{byte(i), 1},
		})
	}
	for i, p := range a.Profiles {
		shots, err := Knocks(p, now, uint32(i*n))
		if err != nil {
			panic(err)
		}
		a.Replays = append(a.Replays, shots...)
	}
	return a
}

func verifier(t *testing.T, a Aim, n int) *verify.Verifier {
	var clients []verify.Key
	for _, p := range a.Profiles {
		clients = append(clients, verify.Key{Identifier: p.Identifier, Secret: p.Secret})
	}
	table, err := verify.NewKeyTable(clients)
	if err != nil {
		t.Fatal(err)
	}
	return verify.New(verify.Rules{Table: table, Ports: n, Tolerance: time.Minute})
}

// TestSniffedNonces: a flood by an attacker on the path has nonces that the client
// could use next, other floods do not.
func TestSniffedNonces(t *testing.T) {
	a := aim(1, time.Unix(1_760_000_030, 0))
	next := map[wire.Identifier]uint32{}
	for i := range a.Clients {
		a.Nonces = append(a.Nonces, uint32(1000*i+77))
		next[ClientID(i)] = a.Nonces[i]
	}
	for _, k := range All {
		if k.Name != "bad-mac" && k.Name != "one-client" && !k.Sniffed {
			continue
		}
		shots, err := k.Shots(a, 500)
		if err != nil {
			t.Fatal(err)
		}
		named := map[wire.Identifier]bool{}
		for _, s := range shots {
			knock, err := wire.Parse(s.Payload)
			if err != nil {
				t.Fatal(err)
			}
			named[knock.Identifier] = true
			if ahead := knock.Nonce - next[knock.Identifier]; (ahead <= xdp.MaxAhead) != k.Sniffed {
				t.Fatalf("%s: the nonce %d of %q, whose next one is %d", k.Name, knock.Nonce, knock.Identifier, next[knock.Identifier])
			}
		}
		if one := k.Others || k.Alone; (len(named) == 1) != one || one != named[ClientID(0)] && one {
			t.Errorf("%s names %d clients", k.Name, len(named))
		}
	}
}

func TestClientsHaveDifferentIdentifiers(t *testing.T) {
	seen := make(map[wire.Identifier]bool, MaxClients)
	for i := range MaxClients {
		id := ClientID(i)
		if !id.Valid() || seen[id] {
			t.Fatalf("client %d is %q", i, id)
		}
		seen[id] = true
	}
}

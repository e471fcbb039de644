package exchange

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// TestTicketVectors: both ends of each exchange derive the same ticket, which is that of
// no other exchange, and in none of the messages.
func TestTicketVectors(t *testing.T) {
	text, err := os.ReadFile("../carrier/testdata/tickets.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tickets []struct{ ID, Ticket string } }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, v := range file.Tickets {
		want[v.ID] = v.Ticket
	}
	seen := map[[TicketSize]byte]string{}
	for _, v := range vectors(t) {
		a, err := v.client(t).Answer(v.challenge)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(v.operation, v.Self.Is6(), v.request)
		if err != nil {
			t.Fatal(err)
		}
		_, pending, err := r.Challenge(nil, v.Public, v.Server, v.nonceA, v.Port)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := pending.Verify(v.wantsResponse)
		if a.Ticket != p.Ticket() || hex.EncodeToString(a.Ticket[:]) != want[v.ID] {
			t.Errorf("%s: the client has %x, the server %x, want %s", v.ID, a.Ticket, p.Ticket(), want[v.ID])
		}
		if other, ok := seen[a.Ticket]; ok {
			t.Errorf("%s and %s have the same ticket", v.ID, other)
		}
		seen[a.Ticket] = v.ID
		if p, ok := pending.Verify(flip(v.wantsResponse, 0)); ok || p.Ticket() != [TicketSize]byte{} {
			t.Errorf("%s: a wrong response has the ticket %x", v.ID, p.Ticket())
		}
	}
}

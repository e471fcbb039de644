package carrier

import (
	"encoding/json"
	"os"
	"testing"

	"sallyport/verify/challenge/exchange"
)

// TestTicketVectors: the path of a tunnel carries the ticket, and only such a path does.
func TestTicketVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/tickets.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tickets []struct {
			ID, Ticket, Path string
			Exchange         Exchange
		}
		Refused []struct{ ID, Comment, Path string }
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Tickets) == 0 || len(file.Refused) == 0 {
		t.Fatalf("%+v, %v", file, err)
	}
	for _, v := range file.Tickets {
		ticket := [TicketSize]byte(unhex(t, v.Ticket))
		m, err := NewTicket(v.Exchange, ticket)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(m.AppendPath(nil, 0, m.Numbers())); got != v.Path {
			t.Errorf("%s: %s, want %s", v.ID, got, v.Path)
		}
		var parsed Message
		if reason := parsed.ParsePath(v.Path); reason != Accepted {
			t.Errorf("%s: %s", v.ID, reason)
		}
		if got, ok := parsed.Ticket(); !ok || got != ticket || parsed.Exchange != v.Exchange {
			t.Errorf("%s: %x, %t, of exchange %d", v.ID, got, ok, parsed.Exchange)
		}
	}
	for _, v := range file.Refused {
		var m Message
		m.ParsePath(v.Path)
		if ticket, ok := m.Ticket(); ok {
			t.Errorf("%s: the ticket %x", v.ID, ticket)
		}
	}
	// The shortest response is longer than a ticket.
	if TicketSize != exchange.TicketSize || exchange.MACSize <= TicketSize {
		t.Error("sizes of tickets and responses")
	}
}

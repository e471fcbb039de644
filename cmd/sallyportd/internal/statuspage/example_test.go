package statuspage

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// longText is a text with no place to break a line.
const longText = "a-name-of-a-service-that-is-as-long-as-names-may-be-and-has-no-blank"

// full is a page with all that a page can have, and the most of it.
func full() Input {
	in := Input{
		Facts:  []Fact{{Name: "server", Text: "v1.2.3, process 4711, ready"}, {Name: "state file", Text: "/var/lib/" + strings.Repeat("x", 120), Attention: true}},
		Tables: []Table{{Title: "Services", Head: []string{"SERVICE", "TYPE", "LEASES", "CONNECTIONS", "FLOWS", "GRANTS", "STATE"}}, {Title: "Nothing", Head: []string{"x"}}},
	}
	for i := range 3 {
		in.Tables[0].Rows = append(in.Tables[0].Rows, []Cell{
			{Text: longText}, {Text: "firewall"}, {Text: "12345"}, {Text: "-"}, {Text: "-"}, {Text: "1234567890"}, {Text: "waits: " + longText, Attention: i == 0},
		})
	}
	in.History.Now = now
	for i := range 60 {
		m := admin.Minute{Begin: now.Add(time.Duration(i-60) * time.Minute), Seconds: 60, Refused: map[string]uint64{}}
		for j, reason := range []string{"magic", "mac", "timestamp", "identifier", "socket_filter_refused", "overrun", "exchange_request_incomplete", "session_rate_limited"} {
			if (i+j)%3 > 0 {
				m.Refused[reason] = uint64((i + 1) * (8 - j) * 1234567)
			}
		}
		in.History.Minutes = append(in.History.Minutes, m)
	}
	in.History.Minutes[30].Refused = map[string]uint64{}
	lease := func(i int, since, until time.Duration) admin.Lease {
		end := now.Add(until)
		return admin.Lease{
			Service: []string{"ssh", "web", longText}[i%3], Client: fmt.Sprintf("com%d", i), Peer: netip.MustParsePrefix("2001:db8:1234:5678:9abc:def0:1234:5678/128"),
			Since: now.Add(since), Until: &end, InForce: true,
		}
	}
	for i := range 12 {
		in.Leases = append(in.Leases, lease(i, -time.Duration(i*i)*time.Minute, time.Duration(i*7+1)*time.Minute))
		in.History.Ended = append(in.History.Ended, admin.EndedLease{Lease: lease(i, -time.Duration(90-i)*time.Minute, -time.Duration(65-5*i)*time.Minute), Reason: "displaced by a newer lease of the client"})
	}
	in.Leases[2].Waits, in.Leases[3].Until, in.Leases[4].InForce = "its opening command has not succeeded yet", nil, false
	in.Leases[5].Peer, in.Leases[6].Peer = netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.0.0.0/24")
	in.Leases[7].Peer, in.Leases[7].Zone, in.Leases[8].Port = netip.MustParsePrefix("::/0"), "any", 12345
	return in
}

// pageOf returns a page as text.
func pageOf(t *testing.T, in Input) string {
	t.Helper()
	var text strings.Builder
	if err := Write(&text, in); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

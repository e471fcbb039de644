package forward

import (
	"testing"

	"sallyport/sessions/client"
)

// TestConfirmation: the client watches a TCP service in place of a UDP service only if the
// same knock opens both, at the same server.
func TestConfirmation(t *testing.T) {
	for _, c := range []struct {
		name     string
		profile  client.Profile
		service  string
		confirms bool
	}{
		{"beside a TCP service", client.Profile{Server: "gate", Service: ":22"}, ":60001/udp", true},
		{"at the server by name", client.Profile{Server: "gate", Service: "gate:22"}, "gate:60001/udp", true},
		{"a TCP service", client.Profile{Server: "gate", Service: ":22"}, ":80", false},
		{"the profile's service", client.Profile{Server: "gate", Service: ":60001/udp"}, "", false},
		{"beside a UDP service", client.Profile{Server: "gate", Service: ":51820/udp"}, ":60001/udp", false},
		{"beside none", client.Profile{Server: "gate"}, ":60001/udp", false},
		{"beside a rotating one", client.Profile{Server: "gate", Service: ":rotate"}, ":60001/udp", false},
		{"beside a bound one", client.Profile{Server: "gate", Service: ":22", Bind: client.BindISN}, ":60001/udp", false},
		{"unwatched", client.Profile{Server: "gate", Service: ":22", Watch: client.WatchNone}, ":60001/udp", false},
		{"elsewhere", client.Profile{Server: "gate", Service: ":22"}, "other:60001/udp", false},
	} {
		s, udp := udpService(c.profile, c.service)
		if got := udp && canConfirm(c.profile); got != c.confirms {
			t.Errorf("%s: %v", c.name, got)
		} else if got && s.Port != 60001 {
			t.Errorf("%s: port %d", c.name, s.Port)
		}
	}
}

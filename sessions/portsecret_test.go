package sessions

import (
	"testing"

	"sallyport/verify/schedule"
	"sallyport/verify/verifytest"
)

// TestGrantNamesThePortSecret: a grant has the minute and the port secret of its
// sequence's ports, also if a knock came to a port that two port secrets have there.
func TestGrantNamesThePortSecret(t *testing.T) {
	f := verifytest.New(t, 3, "com1")
	cfg := Config{Clients: []Client{{Identifier: verifytest.ID("com1")}}}
	current, previous := schedule.NameOf("current"), schedule.NameOf("previous")
	base := uint32(0)
	for name, row := range map[string]struct {
		of   [3]schedule.SecretName
		want schedule.SecretName
	}{
		"current":              {[3]schedule.SecretName{current, current, current}, current},
		"previous":             {[3]schedule.SecretName{previous, previous, previous}, previous},
		"first port of both":   {[3]schedule.SecretName{0, previous, previous}, previous},
		"last port of both":    {[3]schedule.SecretName{previous, previous, 0}, previous},
		"all ports are shared": {[3]schedule.SecretName{0, 0, 0}, 0},
	} {
		grants, _ := run(t, cfg, func(s *Sessions) {
			for i, secret := range row.of {
				s.Deliver(f.KnockAt(t, "com1", schedule.Place{Minute: minute, Secret: secret, Index: int8(i)}, base), alice)
			}
		})
		want := Grant{Identifier: verifytest.ID("com1"), Address: alice, Minute: minute, PortSecret: row.want}
		if len(grants) != 1 || grants[0] != want {
			t.Errorf("%s: grants %v, want %v", name, grants, want)
		}
		base += 3
	}
}

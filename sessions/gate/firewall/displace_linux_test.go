package firewall

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// BenchmarkDisplace is a grant that displaces another peer: the old element is
// removed, or its timeout is made so short that the kernel removes it.
func BenchmarkDisplace(b *testing.B) {
	host, err := netns.New()
	if err != nil {
		b.Skip(err)
	}
	defer host.Close()
	for _, name := range []string{"removed", "shortened"} {
		b.Run(name, func(b *testing.B) {
			err := host.Do(func() error {
				f, err := Claim(withServices(Config{Ports: []Port{{Protocol: TCP, Port: 22}}}), tester, false, now)
				if err != nil {
					return err
				}
				a := netip.MustParseAddr("10.0.0.0")
				for b.Loop() {
					before := a
					a = a.Next()
					gone := change(0, before, access.SoonTime)
					if name == "removed" {
						gone = access.Change{Service: gone.Service, Peer: gone.Peer}
					}
					if err := f.do(change(0, a, time.Minute), gone); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
}

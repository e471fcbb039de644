package firewall

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// BenchmarkOpen is one grant per transaction, BenchmarkApply 64; "again"
// extends existing grants. With a drawn port, the clients of one minute share it. They require the right to create a network
// namespace.
func BenchmarkOpen(b *testing.B)  { benchmarkChanges(b, 1) }
func BenchmarkApply(b *testing.B) { benchmarkChanges(b, 64) }

func benchmarkChanges(b *testing.B, n int) {
	host, err := netns.New()
	if err != nil {
		b.Skip(err)
	}
	defer host.Close()
	drawn := []access.Ports{{First: 10000, Last: 32767}}
	ports := map[string]Port{
		"fixed": {Protocol: TCP, Port: 22}, "redirected": {Protocol: TCP, Port: 22, Drawn: drawn}, "listening": {Protocol: TCP, Drawn: drawn},
	}
	for i := range 6 {
		kind := []string{"fixed", "redirected", "listening"}[i/2]
		again := i%2 == 1
		name := "port=" + kind + "/" + map[bool]string{false: "grant=new", true: "grant=again"}[again]
		b.Run(name, func(b *testing.B) {
			err := host.Do(func() error {
				f, err := Claim(withServices(Config{Ports: []Port{ports[kind]}}), tester, false, now)
				if err != nil {
					return err
				}
				changes := make([]access.Change, n)
				a := netip.MustParseAddr("10.0.0.0")
				for b.Loop() {
					if again {
						a = netip.MustParseAddr("10.0.0.0")
					}
					for i := range changes {
						a = a.Next()
						changes[i] = change(0, a, time.Minute)
						if kind != "fixed" {
							changes[i].Peer.Port = 10000
						}
					}
					if err := f.do(changes...); err != nil {
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

package firewall

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// BenchmarkOpen is one grant per transaction, BenchmarkApply 64; "again"
// extends existing grants. They require the right to create a network
// namespace.
func BenchmarkOpen(b *testing.B)  { benchmarkChanges(b, 1) }
func BenchmarkApply(b *testing.B) { benchmarkChanges(b, 64) }

func benchmarkChanges(b *testing.B, n int) {
	host, err := netns.New()
	if err != nil {
		b.Skip(err)
	}
	defer host.Close()
	for _, again := range []bool{false, true} {
		name := map[bool]string{false: "grant=new", true: "grant=again"}[again]
		b.Run(name, func(b *testing.B) {
			err := host.Do(func() error {
				f, err := Claim(withServices(Config{Ports: []Port{{Protocol: TCP, Port: 22}}}), tester, false, now)
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

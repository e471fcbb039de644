package gate

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/holder/holdertest"
	"sallyport/verify/wire"
)

// BenchmarkWaitingGrants opens a service behind the firewall: Services, helper
// and nftables, as in the server. It alternates 64 grants that share one call,
// and 64 that take one call each. It requires the right to create a network
// namespace.
func BenchmarkWaitingGrants(b *testing.B) {
	const waiting = 64
	host, err := netns.New()
	if err != nil {
		b.Skip(err)
	}
	defer host.Close()
	terms := LeasePolicy{OpenFor: time.Minute, OpenMax: time.Minute, Addresses: 8}
	policy := holder.Policy{Services: []holder.Service{{ID: access.ID("ssh"), Name: "ssh", OpenMax: time.Minute, PrefixLen6: 64}}}
	var table *firewall.Table
	if err := host.Do(func() (err error) {
		table, err = firewall.Claim(firewall.Config{Ports: []firewall.Port{{Service: access.ID("ssh"), Protocol: firewall.TCP, Port: 22}}}, firewall.Owner{}, false, system)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	client, ended := holdertest.StartIn(b, host.Do, holder.Config{Policy: policy, Claim: holder.Claimed(table), Clock: system})
	defer holdertest.Stop(b, client, ended)
	ssh := NewService(ServiceConfig{
		Name: "ssh", PrefixLen6: 64, Policy: terms, Enforcers: []access.Enforcer{holder.NewEnforcer(client)}, Clock: system,
		Log: slog.New(slog.DiscardHandler),
	})
	gate, err := NewServices([]*Service{ssh}, nil)
	if err != nil {
		b.Fatal(err)
	}
	number := uint32(0)
	next := func() sessions.Grant {
		number++
		var g sessions.Grant
		binary.BigEndian.PutUint32(g.Identifier[:], number/8)
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|number)
		g.Address = netip.AddrFrom4(a)
		return g
	}
	open := func(grants ...sessions.Grant) time.Duration {
		began := time.Now()
		if err := errors.Join(gate.Open(grants)...); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	grants := make([]sessions.Grant, waiting)
	var together, alone time.Duration
	rounds := 0
	for b.Loop() {
		for i := range grants {
			grants[i] = next()
		}
		together += open(grants...)
		for range waiting {
			alone += open(next())
		}
		rounds++
	}
	each := float64(rounds) * waiting
	b.ReportMetric(float64(together.Nanoseconds())/each, "ns/together")
	b.ReportMetric(float64(alone.Nanoseconds())/each, "ns/alone")
	b.ReportMetric(float64(alone)/float64(together), "alone/together")
	ssh.revokeExcept(func(wire.Identifier) bool { return false }, false, Update{}.why)
}

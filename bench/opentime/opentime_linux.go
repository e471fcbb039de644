package opentime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"sallyport/bench/report"
	"sallyport/sessions"
	"sallyport/sessions/clock"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/holder"
	"sallyport/sessions/gate/relay"
	"sallyport/verify/wire"
)

// kind is a type of service to measure.
type kind struct {
	name     string
	enforcer func(upstream string) (e access.Enforcer, closes func() error, err error)
}

var (
	now    = clock.System()
	log    = slog.New(slog.DiscardHandler)
	policy = gate.LeasePolicy{OpenFor: time.Minute, OpenMax: time.Minute, Cut: true, Addresses: 1 << 20}
)

var kinds = []kind{
	{"web", func(string) (access.Enforcer, func() error, error) {
		return tcp(gate.NewWeb(gate.Content{Handler: gate.Pages()}, log)), nil, nil
	}},
	{"proxy, TCP", func(upstream string) (access.Enforcer, func() error, error) {
		return tcp(gate.NewProxy(relay.TCP{Upstream: relay.Upstream(upstream)}, log)), nil, nil
	}},
	{"proxy, UDP", func(upstream string) (access.Enforcer, func() error, error) {
		return gate.NewUDP(gate.UDPConfig{
			Listen: "127.0.0.1:7002", PrefixLen6: 128, Clock: now, Log: log,
			Relay: relay.UDPConfig{Upstream: relay.Upstream(upstream), PerAddress: 64, Log: log},
		}), nil, nil
	}},
	{"firewall", behindFirewall},
}

func tcp(s gate.Handler) access.Enforcer {
	return gate.NewTCP(gate.TCPConfig{
		Listen: "127.0.0.1:7001", PrefixLen6: 128, PerAddress: 64, Handler: s, Clock: now, Log: log,
	})
}

// Measure opens a service of each type a number of times: while it is closed, and
// for a second address. Afterwards it closes and removes everything.
func Measure(times int) (all []report.Opening, err error) {
	for _, k := range kinds {
		openings, err := k.measure(times)
		if err != nil {
			return nil, fmt.Errorf("open a service of type %s: %w", k.name, err)
		}
		all = append(all, openings...)
	}
	return all, nil
}

func (k kind) measure(times int) (all []report.Opening, err error) {
	enforcer, closes, err := k.enforcer("127.0.0.1:7003")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, enforcer.Close())
		if closes != nil {
			err = errors.Join(err, closes())
		}
	}()
	first, further := histogram(), histogram()
	service := gate.NewService(gate.ServiceConfig{
		Name: k.name, PrefixLen6: 128, Policy: policy, Enforcers: []access.Enforcer{enforcer}, Clock: now, Log: log,
	})
	g, err := gate.NewServices([]*gate.Service{service}, nil)
	if err != nil {
		return nil, err
	}
	client := uint32(0)
	open := func(h *hdrhistogram.Histogram) error {
		client++
		g := sessions.Grant{
			Identifier: wire.Identifier([]byte("open")),
			Address:    netip.AddrFrom4([4]byte{127, 1, byte(client >> 8), byte(client)}),
		}
		began := time.Now()
		if err := service.Open(g); err != nil {
			return err
		}
		return h.RecordValue(max(time.Since(began).Microseconds(), 1))
	}
	for range times {
		if err := errors.Join(open(first), open(further)); err != nil {
			return nil, err
		}
		if closes == nil { // leases of the firewall expire by themselves, at no cost
			if err := closeAll(g, service); err != nil {
				return nil, err
			}
		}
	}
	if closes != nil {
		return []report.Opening{opening(k.name, further)}, nil
	}
	return []report.Opening{opening(k.name+", the first", first), opening(k.name+", one more", further)}, nil
}

// closeAll revokes all clients of a gate with one service.
func closeAll(g *gate.Services, s *gate.Service) error {
	p, err := g.Prepare(gate.Update{
		Policies: map[access.ServiceID]gate.LeasePolicy{s.ID(): policy},
		IsClient: func(wire.Identifier) bool { return false },
	})
	if err == nil {
		p.Commit()
	}
	return err
}

func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Minute.Microseconds(), 3) }

func opening(name string, h *hdrhistogram.Histogram) report.Opening {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return report.Opening{Type: name, Times: int(h.TotalCount()), Quantiles: report.Quantiles{
		P50: ms(h.ValueAtQuantile(50)), P99: ms(h.ValueAtQuantile(99)), Max: ms(h.Max()),
	}}
}

// behindFirewall returns an enforcer whose holder is in this process. They use
// the same kinds of sockets as the server does.
func behindFirewall(string) (access.Enforcer, func() error, error) {
	id := access.ID("firewall")
	ports := []firewall.Port{{Service: id, Protocol: firewall.TCP, Port: 7004}}
	table, err := firewall.Claim(firewall.Config{Ports: ports}, firewall.Owner{}, false, now)
	if err != nil {
		return nil, nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	lifeline, held := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer held.Close()
		services := []holder.Service{{ID: id, Name: "firewall", OpenMax: time.Minute, PrefixLen6: 128}}
		_, err := holder.Serve(os.NewFile(uintptr(pair[1]), "server"), holder.Config{
			Policy: holder.Policy{Services: services},
			Claim:  holder.Claimed(table), Clock: now, Log: log,
		})
		ended <- err
	}()
	c, err := holder.NewConn(os.NewFile(uintptr(pair[0]), "holder"), lifeline, now)
	if err == nil {
		err = c.Begin(context.Background(), holder.Digest{})
	}
	if err != nil {
		return nil, nil, err
	}
	return holder.NewEnforcer(c), func() error { return errors.Join(c.Stop(), <-ended, firewall.Clear()) }, nil
}

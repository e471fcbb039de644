package main

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/relay"
)

// checkUpstreams warns about upstreams whose name does not resolve, and advises
// about programs on this host that do not listen. It connects to no upstream.
func checkUpstreams(ctx context.Context, cfg *config.Config, proc fs.FS) (found []finding) {
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if at, err := netip.ParseAddrPort(s.Behind()); err == nil {
			if !listens(proc, s.Protocol(), at.Port(), at.Addr()) {
				found = append(found, finding{advice, "no-listener",
					fmt.Sprintf("service %s: no program on this host listens at %s, to which the proxy at via_port connects", s.Name, at), "start the program that the service hides"})
			}
			continue
		}
		if !s.Binds() {
			if port, silent := silentPort(s, proc); silent {
				found = append(found, finding{advice, "no-listener",
					fmt.Sprintf("service %s: no program on this host listens on %s port %d: clients that have knocked are refused, unless a rule redirects the port", s.Name, s.Protocol(), port),
					"start the program that the service hides"})
			}
			continue
		}
		if of := cfg.ProgramAt(relay.Upstream(s.Upstream()), s.UDP); of != nil {
			found = append(found, sharesProgram(s, of))
			continue
		}
		if path := relay.Upstream(s.Upstream()).Unix(); path != "" {
			found = append(found, checkUnixUpstream(s, path, proc)...)
			continue
		}
		host, port, err := net.SplitHostPort(s.Upstream())
		if err != nil {
			continue // it has no upstream
		}
		addresses, err := resolve(ctx, host)
		if err != nil {
			found = append(found, warn("upstream-unresolved", "correct the name, or name the upstream by its address",
				"service %s: cannot resolve the upstream %q: %v", s.Name, s.Upstream(), hint.Cause(err)))
			continue
		}
		if i := slices.IndexFunc(addresses, func(a netip.Addr) bool {
			return cfg.ProgramAt(relay.Upstream(net.JoinHostPort(a.String(), port)), s.UDP) != nil
		}); i >= 0 {
			found = append(found, sharesProgram(s, cfg.ProgramAt(relay.Upstream(net.JoinHostPort(addresses[i].String(), port)), s.UDP)))
			continue
		}
		number, _ := strconv.ParseUint(port, 10, 16)
		silent := number != 0
		for _, a := range addresses {
			silent = silent && a.IsLoopback() && !listens(proc, s.Protocol(), uint16(number), a)
		}
		if silent {
			found = append(found, finding{advice, "no-listener",
				fmt.Sprintf("service %s: no program on this host listens at its upstream %s", s.Name, s.Upstream()), "start that program"})
		}
	}
	return found
}

// sharesProgram warns about a proxy that leads to the program of another service.
func sharesProgram(s, of *config.Service) finding {
	return warn("upstream-of-program", fmt.Sprintf("let these clients open service %s, and remove service %s", of.Name, s.Name),
		"service %s leads to the program of service %s: its clients reach that program without a lease of service %[2]s, and only while such a lease keeps it running",
		s.Name, of.Name)
}

// silentPort returns a port of a service behind the firewall on which no program
// listens. Of a range, only some ports may be in use at a time.
func silentPort(s *config.Service, proc fs.FS) (port uint16, silent bool) {
	if s.Published() {
		return 0, false
	}
	for _, at := range s.At() {
		if at.Ports.Len() == 1 && !listens(proc, s.Protocol(), at.Ports.First, at.Address) {
			return at.Ports.First, true
		}
	}
	return 0, false
}

// resolve returns the addresses of a host, of which the resolver may know none
// within some seconds.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, err
}

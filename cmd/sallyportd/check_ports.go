package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/ingest"
	"sallyport/ingest/capture"
	"sallyport/sessions/gate"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

// checkPorts tries to bind the ports of the server, unless a server runs: then
// the ports belong to it, and it is asked which services wait for theirs.
func checkPorts(ctx context.Context, cfg *config.Config, now time.Time) (found []finding) {
	if runs, _ := serverHoldsState(ctx, cfg); runs || admin.Running(cfg.AdminSocket) {
		return checkWaiting(ctx, cfg)
	}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !s.Carries() {
			continue
		}
		if s.Rotates() {
			found = append(found, checkDrawn(s, now)...)
		} else if err := gate.Bindable(s.Protocol(), s.Listener()); errors.Is(err, syscall.EADDRNOTAVAIL) {
			found = append(found, warn("service-address-missing", listenHint(s, err, cfg.Path), "service %s: this host does not have the address %s (yet)", s.Name, s.Listener()))
		} else if err != nil {
			found = append(found, warn("service-cannot-listen", listenHint(s, err, cfg.Path),
				"service %s cannot listen on %s: %v", s.Name, s.Listener(), err))
		}
	}
	if at := cfg.MetricsListen; at.IsValid() {
		if err := gate.Bindable("tcp", at.String()); err != nil {
			found = append(found, warn("metrics-port-unavailable", "stop the program that has the port, or change metrics_listen", "cannot serve the metrics at %s: %v", at, err))
		}
	}
	if c := cfg.Challenge; c != nil && c.Sockets {
		if n, err := capture.Unavailable(cfg.Listen, c.Plan.Ports.First, c.Plan.Ports.Last); n > 0 {
			found = append(found, warn("exchange-ports-unavailable", "choose a range of ports that no other program uses",
				"cannot bind %s of [challenge] (%v): a request or a response that uses one is lost", count(n, "port"), err))
		}
	}
	if c := cfg.Challenge; c != nil && c.Answers != nil {
		found = append(found, checkAnswers(c, procNet())...)
	}
	found = append(found, checkCarrierPorts(cfg)...)
	busy, err := ingest.UnavailablePorts(cfg.Listen, cfg.PortLists(), schedule.Live(now, cfg.Tolerance))
	if len(busy) > 0 {
		found = append(found, warn("knock-ports-unavailable", "", "cannot open these knock ports of the current minute: %s (%v)", strings.TrimSuffix(fmt.Sprint(busy)[1:], "]"), err))
	}
	return found
}

// checkDrawn warns if the server cannot bind the ports that this minute draws for a
// service.
func checkDrawn(s *config.Service, now time.Time) []finding {
	all, err := s.BindAddresses(now)
	if err != nil {
		return []finding{warn("drawn-ports-unavailable", "", "service %s: %v", s.Name, err)}
	}
	for _, at := range all {
		if err = gate.Bindable(s.Protocol(), at); err == nil {
			return nil
		}
	}
	return []finding{warn("drawn-ports-unavailable",
		"choose rotate_ports that other programs do not use, outside of net.ipv4.ip_local_port_range; then give the clients new profiles",
		"service %s cannot listen on any of the %s that this minute draws: %v", s.Name, count(len(all), "port"), err)}
}

// checkAnswers warns about programs that have the ports of exchanges over TCP.
func checkAnswers(c *config.Challenge, proc fs.FS) (found []finding) {
	if err := gate.Bindable("tcp", fmt.Sprintf(":%d", c.Answers.Port)); err != nil {
		found = append(found, warn("answer-port-unavailable", "choose another answer_port, and give the clients new profiles",
			"cannot listen at TCP port %d, where clients fetch challenges: %v", c.Answers.Port, err))
	}
	p := access.Ports(c.Plan.Ports)
	receivers, _ := receiving(proc, "tcp")
	taken := slices.DeleteFunc(receivers, func(at netip.AddrPort) bool { return !p.Has(at.Port()) || at.Addr().IsLoopback() })
	if len(taken) > 0 {
		found = append(found, warn("exchange-ports-open", "choose a range of ports that no program uses",
			"a program listens at TCP port %d, which is one of the ports of exchanges: their SYNs begin connections to it, which the client resets", taken[0].Port()))
	}
	return found
}

// checkFamilies warns about services that a client may reach over another family
// than that of its knocks: a lease is for the address that knocked.
func checkFamilies(ctx context.Context, cfg *config.Config) (found []finding) {
	knocks4, knocks6 := cfg.Listen.Families()
	if onlyLoopback(cfg.Listen) && cfg.Server != "" && !isLocal(cfg.Server) {
		found = append(found, warn("listen-loopback", "write another address of this host in listen, or omit listen", "the server receives knocks on %s only, where clients on other hosts cannot reach it", strings.Trim(fmt.Sprint(cfg.Listen), "[]")))
	}
	bothServed := "" // a service that both families reach, for the knocker only
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if !s.HasPort() {
			continue
		}
		if a := s.Host(); a.IsLoopback() && cfg.Server != "" {
			at := s.Listen
			if s.Rotates() {
				at = a.String()
			}
			found = append(found, warn("service-loopback", "", "service %s listens on %s only, where clients on other hosts cannot reach it", s.Name, at))
		}
		serves4, serves6 := s.Addresses().Families()
		for _, family := range []struct {
			name, other    string
			serves, knocks bool
		}{{"IPv6", "IPv4", serves6, knocks6}, {"IPv4", "IPv6", serves4, knocks4}} {
			if family.serves && !family.knocks {
				found = append(found, warn("family-without-knocks", "", "service %s listens on %s, but the server accepts knocks over %s only: connections over %s are refused",
					s.Name, family.name, family.other, family.name))
			}
		}
		if serves4 && serves6 && !s.Policy.Anyone && bothServed == "" {
			bothServed = s.Name
		}
	}
	if cfg.Server == "" || bothServed == "" {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", cfg.Server)
	if err != nil {
		return append(found, warn("server-unresolved", "", "cannot resolve server = %q, the name by which clients reach this host: %v", cfg.Server, hint.Cause(err)))
	}
	has4, has6 := false, false
	for _, a := range addresses {
		has4, has6 = has4 || a.Unmap().Is4(), has6 || !a.Unmap().Is4()
	}
	if has4 && has6 {
		found = append(found, finding{advice, "server-two-families", fmt.Sprintf("%s has IPv4 and IPv6 addresses: "+
			"sallyport opens service %s for both; with -4 or -6, and with other clients, only the family of the knocks is let in", cfg.Server, bothServed), ""})
	}
	return found
}

// onlyLoopback reports whether a list, which is not empty, has only loopback addresses.
func onlyLoopback(list []netip.Addr) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(a netip.Addr) bool { return !a.IsLoopback() })
}

// isLocal reports whether a server's name means this host to a client.
func isLocal(server string) bool {
	a, err := netip.ParseAddr(server)
	return server == "localhost" || err == nil && a.IsLoopback()
}

package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/presence"
)

// announce makes this server's key in the fleet. It fails if another one has the name. It
// waits for etcd, at most for the timeout of a request.
func (s *Server) announce(ctx context.Context, cfg *config.Config, p plan) (err error) {
	if s.fleet == nil {
		return nil
	}
	s.setParts(p.parts)
	var settle map[string]time.Duration
	if cfg.FleetClients { // each change of the list comes to one gateway after the other
		settle = map[string]time.Duration{partClients: 3 * presence.Beat}
	}
	s.presence, err = presence.Open(presence.Config{
		Settle: settle,
		Name:   cfg.Fleet.Name, Gateways: cfg.Fleet.GatewayNames(), Dir: cfg.StateDir, Cluster: s.fleet.Cluster(), Wall: s.env.Clock.Wall, Log: s.env.Log,
		Describe: func() presence.Info {
			return presence.Info{Release: s.env.Release, Expires: certificateEnd(cfg.Fleet), Parts: *s.parts.Load()}
		},
	})
	if err != nil {
		return err
	}
	return s.presence.Claim(ctx)
}

// setParts sets what presence announces. The copy does not keep the rest of a plan in memory.
func (s *Server) setParts(parts []presence.Part) { s.parts.Store(&parts) }

// certificateEnd returns when the certificate for etcd expires; zero: there is none.
func certificateEnd(f *config.Fleet) (end time.Time) {
	_, chain := f.CertificateChain()
	for _, x := range chain {
		if end.IsZero() || x.NotAfter.Before(end) {
			end = x.NotAfter
		}
	}
	return end
}

// Present returns what a server of a fleet with these files would announce.
func Present(cfg *config.Config, list clients.List, release string) (i presence.Info, err error) {
	i.Release, i.Expires = presence.Word(release), certificateEnd(cfg.Fleet)
	i.Parts, err = partsOf(cfg, list)
	return i, err
}

// partClients is the name of the part of the clients.
const partClients = "clients"

// content is the hash of a part of the configuration.
type content struct {
	part string
	sum  []byte
}

// partsOf returns the digests of what should be the same at all servers of a fleet.
func partsOf(cfg *config.Config, list clients.List) (parts []presence.Part, err error) {
	if cfg.Fleet == nil {
		return nil, nil
	}
	for _, c := range contentsOf(cfg, list) {
		p, err := presence.Digest(c.part, c.sum)
		if err != nil {
			return nil, fmt.Errorf("digest of the configuration: %w", err)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func contentsOf(cfg *config.Config, list clients.List) (all []content) {
	add := func(part string, write func(io.Writer)) {
		h := sha256.New()
		write(h)
		all = append(all, content{part, h.Sum(nil)})
	}
	add("protocol", func(w io.Writer) {
		fmt.Fprintln(w, cfg.Ports, cfg.Generator, cfg.Tolerance, cfg.Fleet.GatewayKeys)
		if cfg.Fleet.Split {
			fmt.Fprintln(w, "split")
		}
	})
	add("port_secret", func(w io.Writer) {
		s := cfg.PortSecret
		fmt.Fprintf(w, "%q %q %d\n", s.Current, s.Previous, s.Until.Unix())
	})
	add(partClients, func(w io.Writer) { hashClients(w, list) })
	add("services", func(w io.Writer) {
		for i := range cfg.Services {
			s := cfg.Services[i].Original()
			if len(s.Gateways) > 0 {
				fmt.Fprintf(w, "%q\n", s.Gateways)
			}
			fmt.Fprintf(w, "%q %t %t %t %t %d %d\n", s.Name, s.UDP, s.Shared, s.RequireISN, s.Proves, s.Policy.OpenFor, s.Policy.OpenMax)
		}
	})
	add("operations", func(w io.Writer) {
		for _, o := range cfg.Operations {
			fmt.Fprintf(w, "%q %q %q %v %q %t %d %t %t %q %d %v\n", o.ID, o.Secret, o.Keys, o.Algorithm, o.Service, o.Close, o.OpenFor,
				o.UntilClosed, o.RandomPort, o.Client, o.Uses, o.From)
		}
	})
	return all
}

// hashClients writes clients in the order of their identifiers. The nonces of the file
// differ between servers.
func hashClients(w io.Writer, list clients.List) {
	order := make([]int32, len(list))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return slices.Compare(list[a].Identifier[:], list[b].Identifier[:]) })
	for _, i := range order {
		c := &list[i]
		fmt.Fprintf(w, "%q %q %q %d %d %q\n", c.Identifier[:], c.Secret, c.Previous, c.Until.Unix(), c.Expires.Unix(), c.Services)
	}
}

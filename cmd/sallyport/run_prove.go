package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/sessions/client"
	forwarding "sallyport/sessions/client/forward"
)

// boundService returns the service of a profile that has bind = "connection", if there is
// one.
func (o *knockOptions) boundService(p client.Profile) (s client.Service, bound bool) {
	service, bind := p.Service, p.Bind
	if challenge, err := o.usesChallenge(p); err == nil && challenge && p.Challenge.Service != "" {
		service, bind = p.Challenge.Service, p.Challenge.Bind
	}
	s, err := client.ParseService(service)
	return s, err == nil && bind == client.BindConnection
}

// remarkBound prints who can connect to a service with bind = "connection".
func (o *knockOptions) remarkBound(env cli.Env, name string, p client.Profile) error {
	if _, bound := o.boundService(p); !bound {
		return nil
	}
	return env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan},
		fmt.Sprintf("each connection to the service must prove itself: connect by sallyport connect %s, or sallyport forward %s PORT", name, name))
}

// proveFor lets a command connect to a service with bind = "connection": until the caller
// calls end, a port of the loopback leads to the service, and the result has that port in
// place of the service. For other services it does nothing.
func (o *knockOptions) proveFor(c *cobra.Command, env cli.Env, name string, p client.Profile, r *client.Result) (end func(), err error) {
	s, bound := o.boundService(p)
	if !bound {
		return func() {}, nil
	}
	quiet := *o
	quiet.verbose = false
	cfg, err := quiet.forwardConfig(c, env, p)
	if err != nil {
		return nil, err
	}
	routes, err := o.routes(c.Context(), env, name, p, []forwarding.Word{{Port: s.Port, Rotates: s.Rotates}})
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(c.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("make the local port for the command: %w", err)
	}
	routes[0].Streams = []net.Listener{l}
	cfg.Report = func(e forwarding.Event) {
		if f, ok := e.(forwarding.Failed); ok {
			env.Err().Warning("a connection of the command did not get in: "+f.Err.Error(), "")
		}
	}
	ctx, cancel := context.WithCancel(c.Context())
	done := make(chan error, 1)
	go func() { done <- forwarding.Serve(ctx, cfg, routes) }()
	r.Service = l.Addr().(*net.TCPAddr).AddrPort()
	r.Service = netip.AddrPortFrom(r.Service.Addr().Unmap(), r.Service.Port())
	return func() {
		cancel()
		<-done
	}, nil
}

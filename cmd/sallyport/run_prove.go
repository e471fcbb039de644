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

// bound returns the service that the protocol in use opens, and its property.
func (o *knockOptions) bound(p client.Profile) (service string, bind client.Bind) {
	if challenge, err := o.usesChallenge(p); err == nil && challenge && p.Challenge.Service != "" {
		return p.Challenge.Service, p.Challenge.Bind
	}
	return p.Service, p.Bind
}

// bind returns the property of the connections to the service of a profile.
func (o *knockOptions) bind(p client.Profile) client.Bind {
	_, bind := o.bound(p)
	return bind
}

// boundService returns the service of a profile that has bind = "connection", if there is
// one.
func (o *knockOptions) boundService(p client.Profile) (s client.Service, bound bool) {
	service, bind := o.bound(p)
	s, err := client.ParseService(service)
	return s, err == nil && bind == client.BindConnection
}

// remarkBound prints who can connect to a service with bind = "connection".
func (o *knockOptions) remarkBound(env cli.Env, name string, p client.Profile) error {
	if _, bound := o.boundService(p); !bound {
		return nil
	}
	return env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan},
		fmt.Sprintf("each connection to the service must prove itself: connect by sallyport connect %s, sallyport run %s -- COMMAND, or sallyport forward %s PORT", name, name, name))
}

// tunnels reports whether each connection goes through the web server of the profile.
func (o *knockOptions) tunnels(p client.Profile) bool {
	challenge, err := o.usesChallenge(p)
	by := o.carrierOf()
	return err == nil && challenge && p.Challenge.Tunnel &&
		(by == client.CarrierHTTPS || by == client.CarrierAuto && p.Challenge.Request.DataBits == 0)
}

// proveFor lets a command connect to a service with bind = "connection", or through a web
// server: until the caller
// calls end, a port of the loopback leads to the service, and the result has that port in
// place of the service. For other services it does nothing.
func (o *knockOptions) proveFor(c *cobra.Command, env cli.Env, name string, p client.Profile, r *client.Result) (end func(), err error) {
	s, bound := o.boundService(p)
	if !bound && !o.tunnels(p) {
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

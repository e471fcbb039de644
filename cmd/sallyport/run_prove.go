package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

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
	text := fmt.Sprintf("each connection to the service must prove itself: connect by sallyport connect %s, sallyport run %s -- COMMAND, or sallyport forward %s PORT", name, name, name)
	if !p.Identifier.Valid() {
		text = "each connection to the service must prove itself by a client's secret, which this profile does not have: " + client.NoProverHint
	}
	return env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan}, text)
}

// needsLocalPort returns the options by which the connections of a command are made for it,
// at a local port; nil: the command connects to the service itself. They must prove
// themselves, go through a web server, or confirm the knocks: if nothing else does, and the
// network may drop them, only a connection shows whether another way is necessary.
func (o *knockOptions) needsLocalPort(p client.Profile, r client.Result) *knockOptions {
	own := *o
	own.verbose = false
	if r.ByTunnel {
		own.carrier = string(client.CarrierHTTPS)
		return &own
	}
	_, bound := o.boundService(p)
	unconfirmed := len(r.Untried) > 0 && r.Service.IsValid() && !r.UDP && !o.noWatch && o.watch == ""
	if bound || unconfirmed {
		return &own
	}
	return nil
}

// localPort makes the connections of a command, as needsLocalPort has it: until the caller
// calls end, a port of the loopback leads to the service, and the result has that port in
// place of the service. Since is when the knock of the result began, by the clock Boot: if
// the service has answered, the first connection needs no other one, which an operation
// with a limit of uses does not permit.
func (o *knockOptions) localPort(
	c *cobra.Command, env cli.Env, name string, p client.Profile, r *client.Result, since time.Time,
) (end func(), err error) {
	g, err := o.gatewaysOf(c.Context(), p, nil)
	if err != nil {
		return nil, err
	}
	cfg, err := o.forwardConfig(c, env, p, g)
	if err != nil {
		return nil, err
	}
	word, err := o.ownService(p)
	if err != nil {
		return nil, err
	}
	routes, err := o.routes(c.Context(), env, name, p, g, []forwarding.Word{word})
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(c.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("make the local port for the command: %w", err)
	}
	routes[0].Streams = []net.Listener{l}
	if r.Watched && !r.ByTunnel {
		cfg.Opened, cfg.Age = forwarding.Opened{Server: r.Address, Service: r.Service}, env.Clock.Boot().Sub(since)
	}
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

// ownService returns the service of a profile by the protocol in use.
func (o *knockOptions) ownService(p client.Profile) (forwarding.Word, error) {
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return forwarding.Word{}, err
	}
	if challenge && p.Challenge.Operation.RandomPort() {
		return forwarding.Word{Random: true}, nil
	}
	service, _ := o.bound(p)
	s, err := client.ParseService(service)
	return forwarding.Word{Port: s.Port, Rotates: s.Rotates}, err
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
	forwarding "sallyport/sessions/client/forward"
)

func parseWords(args []string) (words []forwarding.Word, err error) {
	for _, arg := range args {
		w, err := forwarding.ParseWord(arg)
		if err != nil {
			return nil, cli.WithHint(err, "for example: 5432, 15432:5432, 127.0.0.1:15432:5432, or 60001/udp")
		}
		words = append(words, w)
	}
	return words, forwarding.CheckWords(words)
}

// routes returns the routes of words, without sockets. A word that names the service of
// the profile means that one, also on another host than the server.
func (o *knockOptions) routes(ctx context.Context, env cli.Env, name string, p client.Profile, g gateways, words []forwarding.Word) ([]forwarding.Route, error) {
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return nil, err
	}
	service, bind, named, handshake, random := p.Service, p.Bind, p.ServiceName, p.Handshake, false
	if challenge {
		random = p.Challenge.Operation.RandomPort()
		service = cmp.Or(p.Challenge.Service, fixedService(p.Service))
		bind, named, handshake = p.Challenge.Bind, p.Challenge.ServiceName, p.Challenge.Handshake
		if p.Challenge.Service == "" {
			bind, named, handshake = p.Bind, p.ServiceName, p.Handshake
		}
	}
	prover, err := newGatewayProver(ctx, env, g, bind, named)
	if err != nil {
		return nil, err
	}
	own, _ := client.ParseService(service) // load has parsed it; empty: none
	routes := make([]forwarding.Route, len(words))
	for i, w := range words {
		switch {
		case w.Random && !random:
			return nil, fmt.Errorf("%s: profile %s opens no random port", w, name)
		case random && !w.Random:
			return nil, cli.WithHint(fmt.Errorf("%s: profile %s opens a random port", w, name),
				fmt.Sprintf("name a local port: sallyport forward %s %d:random", name, w.LocalPort))
		case w.Rotates && !own.Rotates:
			return nil, cli.WithHint(fmt.Errorf("%s: the port of the service of profile %s does not rotate", w, name), "write the number of the port")
		}
		routes[i] = forwarding.Route{Service: w.Service(), Each: w.Random, Rotates: w.Rotates}
		if w.Rotates && w.UDP != own.UDP {
			return nil, fmt.Errorf("%s: expected the protocol of the service of profile %s, which is %s", w, name, service)
		}
		if service != "" && w.Port == own.Port && w.Rotates == own.Rotates && w.UDP == own.UDP {
			routes[i].Service = ""
			routes[i].Each = routes[i].Each || bind == client.BindISN || challenge && p.Challenge.Tunnel
			if prover != nil {
				routes[i].Prover = prover
			}
			routes[i].Granted = handshake == client.HandshakeGranted
		}
	}
	return routes, nil
}

// forwardConfig returns how to knock.
func (o *knockOptions) forwardConfig(c *cobra.Command, env cli.Env, p client.Profile, g gateways) (cfg forwarding.Config, err error) {
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return cfg, err
	}
	progress := newProgress(env, o)
	if o.verbose {
		progress.details(c.Root().Version, p, challenge)
	}
	g.Report = progress.report
	if cfg.OpenFor = p.OpenFor; challenge {
		cfg.OpenFor = p.Challenge.OpenFor
	}
	sequences, exchanges, err := o.configs(c.Context(), env, g, challenge, true, progress.report)
	if err != nil {
		return cfg, err
	}
	cfg.Knock = func(ctx context.Context, r forwarding.Request) (opened forwarding.Opened, err error) {
		err = g.Try(ctx, func(ctx context.Context, t client.Turn) (bool, error) {
			turn := o.inTurn(t, p)
			var err error
			if challenge {
				x := exchanges[t.Gateway]
				x.Attempts = turn.attempts
				opened, err = forwarding.Challenge(x)(ctx, r)
			} else {
				s := sequences[t.Gateway]
				s.Attempts, s.NoWait = turn.attempts, turn.noWait
				opened, err = forwarding.Sequence(s)(ctx, r)
			}
			if err == nil {
				g.current.Store(int64(t.Gateway))
			}
			return true, err // a local program waits for one address
		})
		return opened, err
	}
	return cfg, nil
}

// openSockets returns the sockets of each word: those that systemd has passed, or new
// ones.
func openSockets(ctx context.Context, words []forwarding.Word, share bool) (list []forwarding.Sockets, err error) {
	const hint = "with --share, any computer that reaches the address gets in: its connections look like yours"
	passed, err := forwarding.Inherited()
	if err != nil {
		return nil, err
	}
	if len(passed) > 0 {
		list, err = forwarding.Assign(words, passed, share)
		if public := (*forwarding.PublicError)(nil); errors.As(err, &public) {
			err = cli.WithHint(err, "in the socket unit, name 127.0.0.1 or [::1] before the port\n"+hint)
		}
		return list, err
	}
	for _, w := range words {
		s, err := forwarding.Listen(ctx, w, share)
		if err != nil {
			for _, s := range list {
				s.Close()
			}
			if public := (*forwarding.PublicError)(nil); errors.As(err, &public) {
				return nil, cli.WithHint(err, "omit the address, to listen on localhost\n"+hint)
			}
			return nil, cli.WithHint(err, fmt.Sprintf("name another local port: %d:%s", otherPort(w.LocalPort), w.Name()))
		}
		list = append(list, s)
	}
	return list, nil
}

// otherPort returns a local port that is probably free, and needs no privilege.
func otherPort(port uint16) uint16 {
	if port < 10000 {
		return port + 10000
	}
	return port - 1
}

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
	forwarding "sallyport/sessions/client/forward"
)

func forwardCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	var share bool
	c := &cobra.Command{
		Use:   "forward PROFILE [LOCAL:]PORT…",
		Short: "Listen on local ports, and knock when a program connects to one",
		Long: `Listen on local ports, and knock when a program connects to one.

This is for programs that cannot knock: browsers, clients of databases. PORT is the
number of a service's port at the server. Programs on this computer connect to the
same port of localhost, and get a connection to the service. LOCAL is another local
port, a local address, or both:

  5432                  localhost, port 5432
  15432:5432            localhost, port 15432
  127.0.0.2:5432        127.0.0.2, port 5432
  127.0.0.2:15432:5432  127.0.0.2, port 15432
  [::1]:5432            ::1, port 5432

Localhost is 127.0.0.1 and ::1. With /udp behind PORT, the service is a UDP service,
as in 60001/udp. If the port of the profile's service rotates, PORT is "rotate", as in
8080:rotate; if each exchange opens a random port, it is "random".

The command knocks when a program connects. All connections that come meanwhile wait
for that knock, and while the service is open, none is sent. If it does not open, the
local connection is reset, and the command prints the cause once. The datagrams of a
local program wait for the knock, up to 64 of them. While a program sends datagrams,
the command knocks again before the service closes.

Every program and user of this computer can connect to the local ports, and gets in.
So other computers must not reach them: the command accepts local addresses other
than the loopback's only with --share.

If systemd starts the command with a socket unit, it uses the sockets of the unit.
Each belongs to the PORT whose local port it has, or that FileDescriptorName= names,
or to the only one.

The command runs until it is interrupted. Then it resets all connections, and ends
with exit code 0.`,
		Example: `  sallyport forward work 8080 5432
  sallyport forward work 8443:443 60001/udp`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("expected a profile, and at least one port of the server")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			defer endAtHangup(c)()
			words, err := parseWords(args[1:])
			if err == nil {
				err = o.check()
			}
			if err != nil {
				return cli.Misuse(err)
			}
			p, err := o.load(c, env, args[0])
			defer profile.End(p)
			if err != nil {
				return err
			}
			g, err := o.gatewaysOf(c.Context(), p, nil)
			if err != nil {
				return err
			}
			routes, err := o.routes(c.Context(), env, args[0], p, g, words)
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, err := o.forwardConfig(c, env, p, g)
			if err == nil {
				err = o.checkClose(args[0], p)
			}
			if err != nil {
				return cli.Misuse(err)
			}
			sockets, err := openSockets(c.Context(), words, share)
			if err != nil {
				return cli.Misuse(err)
			}
			for i, s := range sockets {
				routes[i].Streams, routes[i].Packets = s.Streams, s.Packets
			}
			if p.Bind != client.BindISN {
				dropNetAdmin()
			}
			report := newForwardReport(env, &o, routes, words)
			cfg.Report = report.event
			if err := report.listening(sockets); err != nil {
				return fmt.Errorf("print the local ports: %w", err)
			}
			err = forwarding.Serve(c.Context(), cfg, routes)
			o.closeAtEnd(c.Context(), env, p)
			if isn := (*client.ISNError)(nil); errors.As(err, &isn) {
				err = cli.Misuse(err)
			}
			return err
		},
	}
	o.flags(c)
	o.closeFlag(c)
	c.Flags().BoolVar(&share, "share", false, "accept local addresses that other computers can reach, and let them all in")
	cli.AddJSONFlag(c, &o.json)
	return c
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

func connectCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	var fdpass bool
	c := &cobra.Command{
		Use:   "connect PROFILE [HOST PORT]",
		Short: "Knock, then connect standard input and output to the service",
		Long: `Knock, then connect standard input and output to the service.

This is for ssh: with

  Host work
      ProxyCommand sallyport connect work %h %p

in ~/.ssh/config, "ssh work" knocks first. HOST and PORT replace the service of the
profile. If HOST is the server of the profile, the command connects to the address
to which it sent the knocks.

If the port of the profile's service rotates (service = ":rotate"), omit HOST and
PORT, or write "rotate" as the PORT: ssh's %p does not know the port. Then

  Host work
      ProxyCommand sallyport connect work

connects to the port that the minute draws.

With --fdpass, the command passes the open connection to the program that started
it, and ends: ssh then uses the connection directly. Standard output must be a Unix
socket, as ssh makes it with

  Host work
      ProxyCommand sallyport connect --fdpass work %h %p
      ProxyUseFdpass yes

This does not exist on Windows.

If the profile has tunnel = true, and the exchange went by HTTPS, the connection goes
through the same web server. With --fdpass, it goes to the service itself.

With bind = "isn" in the profile, the connection begins with the sequence number
that the server expects. This requires Linux and CAP_NET_ADMIN.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 3 {
				return errors.New("expected a profile, or a profile, a host and a port")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 3 {
				s, err := serviceOf(args[1], args[2])
				if err != nil {
					return cli.Misuse(err)
				}
				o.service = s.String()
			}
			p, err := o.load(c, env, args[0])
			defer profile.End(p)
			if err != nil {
				return err
			}
			if err := o.canConnect(args[0], p); err != nil {
				return cli.Misuse(err)
			}
			var to *passer
			if fdpass {
				if to, err = newPasser(env.Stdout); err != nil {
					return cli.Misuse(err)
				}
			}
			// The connection is what the user asks for, whatever the profile's watch is.
			o.watch = string(client.WatchConnection)
			o.direct = fdpass
			result, err := o.send(c, env, p, true)
			if err != nil {
				return o.adviseTunnel(p, err)
			}
			profile.End(p) // the connection may last for long
			if result.Tunnel != nil {
				defer result.Tunnel.Close()
				return forward(c.Context(), env, streamConn{result.Tunnel})
			}
			defer result.Conn.Close()
			if fdpass {
				return to.pass(c.Context(), result.Conn.TCP())
			}
			return forward(c.Context(), env, result.Conn)
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&fdpass, "fdpass", false, "pass the connection over standard output, for ssh's ProxyUseFdpass")
	o.jsonErrorFlag(c)
	return c
}

// serviceOf returns the service that the arguments HOST and PORT name.
func serviceOf(host, port string) (client.Service, error) {
	s, err := client.ParseService(net.JoinHostPort("host", port))
	if err != nil || s.UDP || strings.Contains(port, "/") {
		return client.Service{}, fmt.Errorf("PORT: expected a number from 1 to 65535, or \"rotate\", got %q", port)
	}
	if !client.ValidHost(host) {
		return client.Service{}, fmt.Errorf("HOST: expected a host name or an address, got %q", host)
	}
	s.Host = host
	return s, nil
}

// canConnect returns an error if the profile has no TCP service.
func (o *knockOptions) canConnect(name string, p client.Profile) error {
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return err
	}
	service := cmp.Or(o.service, p.Service)
	if challenge {
		service = cmp.Or(fixedService(o.service), p.Challenge.Service, fixedService(p.Service))
		if p.Challenge.Operation.RandomPort() {
			return nil
		}
	}
	if service == "" {
		return cli.WithHint(fmt.Errorf("profile %s names no service", name),
			"name a TCP service: sallyport connect "+name+" HOST PORT, or service = \":PORT\" in the profile; "+
				"for other programs: sallyport run "+name+" -- COMMAND")
	}
	s, err := client.ParseService(service)
	if err == nil && s.Rotates && p.Rotation == nil {
		return cli.WithHint(fmt.Errorf("the port of the service of profile %s does not rotate", name),
			"write the number of the port, or omit HOST and PORT")
	}
	if err == nil && (s.UDP || s.Rotates && rotatesUDP(p)) {
		return cli.WithHint(fmt.Errorf("the service %s of profile %s is a UDP service, and connect needs a TCP service", service, name),
			"knock, and then run the program: sallyport run "+name+" -- COMMAND")
	}
	return nil
}

// rotatesUDP reports whether the service of the profile, whose port rotates, is a UDP
// service.
func rotatesUDP(p client.Profile) bool {
	s, err := client.ParseService(p.Service)
	return err == nil && s.UDP
}

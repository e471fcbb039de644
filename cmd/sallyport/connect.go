package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/terminal"
	"sallyport/sessions/client"
)

func connectCommand(env cli.Env) *cobra.Command {
	var o knockOptions
	c := &cobra.Command{
		Use:   "connect PROFILE [HOST PORT]",
		Short: "Knock, then connect standard input and output to the service",
		Long: `Knock, then connect standard input and output to the service.

This is for ssh: with

  Host work
      ProxyCommand sallyport connect work %h %p

in ~/.ssh/config, "ssh work" knocks first. HOST and PORT replace the service of the
profile. If HOST is the server of the profile, the command connects to the address
to which it sent the knocks.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 3 {
				return errors.New("expected a profile, or a profile, a host and a port")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 3 {
				o.service = net.JoinHostPort(args[1], args[2])
				if _, _, err := client.SplitService(o.service); err != nil {
					return cli.Misuse(err)
				}
			}
			result, err := o.knock(c, env, args[0], true)
			if err != nil {
				return err
			}
			return forward(c.Context(), env, result.Conn)
		},
	}
	o.flags(c)
	o.jsonErrorFlag(c)
	return c
}

// forward copies in both directions until the service closes the connection. At the
// end of standard input it closes only its side, so that the service can still reply.
func forward(ctx context.Context, env cli.Env, conn *client.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go func() {
		io.Copy(conn, env.Stdin)
		conn.CloseWrite()
	}()
	_, err := io.Copy(terminal.Raw(env.Stdout), conn)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the connection broke: %w", err)
	}
	return nil
}

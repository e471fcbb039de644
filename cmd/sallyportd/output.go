package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
	"rsc.io/qr"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/sessions/durable"
)

// profileOutput is where a client's new profile goes.
type profileOutput struct {
	server string
	out    string
	qr     bool
}

func (o *profileOutput) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.server, "server", "", "the host `name` or address by which this client reaches the server (default \"server\" of the configuration)")
	c.Flags().StringVar(&o.out, "out", "", "write the profile to a new `file`, for this user only, instead of printing it")
	c.Flags().BoolVar(&o.qr, "qr", false, "draw the profile as a QR code in the terminal")
}

// deliver makes a client's profile, has the client registered, and only then
// hands the profile out. If something fails, no file is left.
func (o *profileOutput) deliver(env cli.Env, cfg *config.Config, c clients.Client, register func() error) error {
	text, err := o.text(cfg, c)
	if err != nil {
		return cli.Misuse(err)
	}
	if o.qr {
		if _, err := qr.Encode(string(text), qr.L); err != nil {
			return cli.Misuse(cli.WithHint(fmt.Errorf("--qr: the profile is too long for a QR code: %w", err), "use --out, or a shorter port secret"))
		}
	}
	if o.out == "" {
		if err := register(); err != nil {
			return err
		}
		if o.qr {
			qrterminal.GenerateHalfBlock(string(text), qrterminal.L, env.Stdout)
		} else if _, err := env.Stdout.Write(text); err != nil {
			return fmt.Errorf("print the profile: %w", err)
		}
		return o.advise(env, c, "the device's owner: sallyport profile add - NAME")
	}
	if err := secretfile.Create(o.out, text); err != nil {
		return cli.Misuse(fmt.Errorf("--out: %w", err))
	}
	if err := register(); err != nil {
		durable.Remove(o.out)
		return err
	}
	if o.qr {
		qrterminal.GenerateHalfBlock(string(text), qrterminal.L, env.Stdout)
	}
	return o.advise(env, c, "the device's owner: sallyport profile add "+o.out)
}

func (o *profileOutput) advise(env cli.Env, c clients.Client, next string) error {
	_, err := fmt.Fprintf(env.Stderr, "Client %s, for one device: a second one needs a client of its own.\nBring the profile there by a safe way; it holds secrets. There, for %s\n", c.Identifier, next)
	return err
}

// watchable is the first service of a client whose opening its device can see.
func watchable(cfg *config.Config, c clients.Client) *config.Service {
	allowed := c.Allowed()
	for i := range cfg.Services {
		if s := &cfg.Services[i]; !s.UDP && (allowed == nil || slices.Contains(allowed, s.Name)) {
			return s
		}
	}
	return nil
}

// text is the profile as a file.
func (o *profileOutput) text(cfg *config.Config, c clients.Client) ([]byte, error) {
	server := o.server
	if server == "" {
		server = cfg.Server
	}
	if server == "" {
		return nil, cli.WithHint(fmt.Errorf("the profile has to name the server, and %s does not say how clients reach it", cfg.Path), "give --server NAME, or set \"server\" there")
	}
	service := ""
	if s := watchable(cfg, c); s != nil {
		service = fmt.Sprintf(":%d", s.Port())
	}
	var first uint32
	if c.Mark > 0 && c.Mark < math.MaxUint32 {
		first = c.Mark + 1
	}
	text, err := profile.Format(client.Profile{
		FirstNonce: first,
		Server:     server, PortSecret: cfg.PortSecret.Current, Ports: cfg.Ports, Generator: cfg.Generator,
		Identifier: c.Identifier, Secret: c.Secret, Service: service,
	})
	if err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	// What is handed out must be readable.
	if _, err := profile.Parse("profile", text); err != nil {
		return nil, fmt.Errorf("the profile would not be valid: %w", err)
	}
	return text, nil
}

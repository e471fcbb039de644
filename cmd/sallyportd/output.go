package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
	"rsc.io/qr"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
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
func (o *profileOutput) deliver(env cli.Env, cfg config, c registered, register func() error) error {
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
	f, err := os.OpenFile(o.out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cli.Misuse(fmt.Errorf("--out: %w", err))
	}
	_, err = f.Write(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = register()
	}
	if err != nil {
		os.Remove(o.out)
		return err
	}
	if o.qr {
		qrterminal.GenerateHalfBlock(string(text), qrterminal.L, env.Stdout)
	}
	return o.advise(env, c, "the device's owner: sallyport profile add "+o.out)
}

func (o *profileOutput) advise(env cli.Env, c registered, next string) error {
	_, err := fmt.Fprintf(env.Stderr, "Client %s, for one device: a second one needs a client of its own.\nBring the profile there by a safe way; it holds secrets. There, for %s\n", c.identifier, next)
	return err
}

// watchable is the first service of a client whose opening its device can see.
func (cfg config) watchable(c registered) (serviceConfig, bool) {
	for _, s := range cfg.services {
		if !s.udp && (c.services == "" || slices.Contains(strings.Split(c.services, ","), s.name)) {
			return s, true
		}
	}
	return serviceConfig{}, false
}

// text is the profile as a file.
func (o *profileOutput) text(cfg config, c registered) ([]byte, error) {
	server := o.server
	if server == "" {
		server = cfg.server
	}
	if server == "" {
		return nil, cli.WithHint(fmt.Errorf("the profile has to name the server, and %s does not say how clients reach it", cfg.path), "give --server NAME, or set \"server\" there")
	}
	service := ""
	if s, ok := cfg.watchable(c); ok {
		service = fmt.Sprintf(":%d", s.port())
	}
	var first uint32
	if c.mark > 0 && c.mark < math.MaxUint32 {
		first = c.mark + 1
	}
	text, err := profile.Format(client.Profile{
		FirstNonce: first,
		Server:     server, PortSecret: cfg.portSecret, Ports: cfg.ports, Generator: cfg.generator,
		Identifier: c.identifier, Secret: c.secret, Service: service,
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

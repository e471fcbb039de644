package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"
	"rsc.io/qr"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/sessions/durable"
)

// profileOutput is where a command writes a client's profile.
type profileOutput struct {
	server string
	out    string
	undone string // for the error if the profile cannot be written: the change that was not made
	qr     bool
	asJSON bool

	replaces, again bool // the device has an earlier profile, or may have one

	bind client.Bind // of the profile
}

func (o *profileOutput) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.server, "server", "", "the host `name` or address by which this client reaches the server (default \"server\" of the configuration)")
	c.Flags().StringVar(&o.out, "out", "", "write the profile to a new `file`, which only this user can read, instead of printing it")
	c.Flags().BoolVar(&o.qr, "qr", false, "draw the profile as a QR code in the terminal")
	cli.AddJSONFlag(c, &o.asJSON)
}

// given reports whether a flag names where the profile goes.
func (o *profileOutput) given() bool { return o.server != "" || o.out != "" || o.qr }

// profileResult is a profile for programs: its text, or the file that holds it.
type profileResult struct {
	Profile string `json:"profile,omitempty"`
	File    string `json:"profile_file,omitempty"`

	note string // of serverAddresses
}

// deliver makes a client's profile, registers the client, and only then prints
// the profile, or leaves that to report if JSON was asked for. If something
// fails, it leaves no file behind.
func (o *profileOutput) deliver(
	ctx context.Context, env cli.Env, cfg *config.Config, list clients.List, c clients.Client, register func() error,
) (*profileResult, error) {
	if o.qr && o.asJSON {
		return nil, cli.Misuse(errors.New("expected either --qr or --json, got both"))
	}
	m, err := newClientMaker(ctx, env, cfg, list, o.server)
	if err != nil {
		return nil, cli.Misuse(err)
	}
	text, err := m.client(c)
	if err != nil {
		return nil, cli.Misuse(err)
	}
	if s := observableService(cfg, c); s != nil {
		o.bind = s.ProfileBind()
	}
	if o.qr {
		if _, err := qr.Encode(string(text), qr.L); err != nil {
			err = fmt.Errorf("--qr: the profile is too long for a QR code: %w", err)
			return nil, cli.Misuse(cli.WithHint(err, "use --out, or a shorter port secret"))
		}
	}
	result := &profileResult{Profile: string(text), note: m.addresses.note}
	if o.out == "" {
		env.ProtectStdout()
	} else {
		result.Profile, result.File = "", o.out
		if err := createProfile(o.out, text, o.undone); err != nil {
			return nil, err
		}
	}
	if err := register(); err != nil {
		if o.out != "" {
			durable.Remove(o.out)
		}
		return nil, err
	}
	if o.asJSON {
		return result, nil
	}
	if o.qr {
		qrterminal.GenerateHalfBlock(string(text), qrterminal.L, env.Stdout)
	} else if o.out == "" {
		if _, err := env.Stdout.Write(text); err != nil {
			return nil, cli.WithHint(fmt.Errorf("print the profile: %w", err),
				fmt.Sprintf("\"sallyportd client profile %s\" prints it again", c.Identifier))
		}
	}
	err = env.Err().Printf("Client %s: valid for one device; add another client for each further device.\n%s%s%s",
		c.Identifier, expiryText(env, c), transferProfile, o.onDevice())
	return result, errors.Join(err, printNote(env, m.addresses.note))
}

// expiryText returns a line with the time at which a client expires; empty: it does not.
func expiryText(env cli.Env, c clients.Client) string {
	switch {
	case c.Expires.IsZero():
		return ""
	case c.Expires.After(env.Now()):
		return fmt.Sprintf("The client expires at %s.\n", env.Time(c.Expires))
	}
	return fmt.Sprintf("The client expired at %s: the server refuses it, and the device does not knock.\n", env.Time(c.Expires))
}

// printNote prints, for people, what they should know of the server's addresses.
func printNote(env cli.Env, note string) error {
	if note == "" {
		return nil
	}
	return env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan}, note)
}

// The texts before the commands for the device, which a printed profile needs. A profile for
// public keys has no secret.
const (
	onTheDevice     = "On the device, install sallyport, and run:\n"
	transferProfile = "The profile contains secrets: transfer it over a secure channel. " + onTheDevice
	transferSigned  = "The profile contains no secret, but the server's host key: transfer it so that no attacker can change it. " + onTheDevice
)

// onDevice returns the commands for the device.
func (o *profileOutput) onDevice() string {
	from := "-"
	if o.out != "" {
		from = filepath.Base(o.out)
	}
	use := "  sallyport " + tryCommand(o.bind) + " NAME\n"
	replace := fmt.Sprintf("  sallyport profile replace NAME %s\n", from)
	add := fmt.Sprintf("  sallyport profile add %s NAME\n", from)
	switch {
	case o.replaces:
		return replace
	case o.again:
		return add + use + "or, if the device has an earlier profile of this client:\n" + replace
	}
	return add + use
}

// tryCommand returns the client's command for a first try.
func tryCommand(b client.Bind) string {
	if b != client.BindAddress {
		return "connect" // "knock" leaves the connection to another program
	}
	return "knock"
}

// createProfile writes a profile to a new file. undone is what the command has then
// not done, for the error; empty: nothing else.
func createProfile(path string, text []byte, undone string) error {
	err := secretfile.Create(path, text)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		err = fmt.Errorf("--out: %s exists already", path)
	default:
		err = fmt.Errorf("--out: %w", err)
	}
	if undone != "" {
		err = fmt.Errorf("%w; %s", err, undone)
	}
	if explained := hint.Writing(err); explained != err {
		return cli.Misuse(explained)
	}
	return cli.Misuse(cli.WithHint(err, "name a new file, in a directory that exists, with --out; or move the old file away"))
}

// report prints a result for programs.
func (o *profileOutput) report(env cli.Env, r clientResult) error {
	if !o.asJSON {
		return nil
	}
	return env.Out().JSON(r)
}

// finish makes the running server apply a change, and reports the result: also if
// the server has not applied it, because the profile is valid then as well.
func (o *profileOutput) finish(
	ctx context.Context, env cli.Env, cfg *config.Config, change string, r clientResult,
) error {
	running, err := applyChange(ctx, cfg, change, clientsOf(cfg, env).apply(ctx))
	if o.asJSON {
		r.setServer(running, err)
		return errors.Join(env.Out().JSON(r), err)
	}
	if err != nil {
		return err
	}
	return env.Err().Printf("%s\n", serverLine(cfg, running))
}

// observableService returns the first service of a client that requires initial sequence
// numbers, or that connections prove themselves, since only a profile that names it
// makes that possible; or else the first
// whose opening its device can observe, or else the first one with a port; nil: there
// is none.
func observableService(cfg *config.Config, c clients.Client) *config.Service {
	var observable, first *config.Service
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if cfg.Fleet != nil && len(cfg.Fleet.Gateways) > 0 {
			s = s.Original() // the profile names the gateways that have it
		}
		switch {
		case s.ProfileService() == "", !mayOpen(c, s):
		case s.RequireISN, s.Proves:
			return s
		case !s.UDP:
			observable = cmp.Or(observable, s)
		case first == nil:
			first = s
		}
	}
	return cmp.Or(observable, first)
}

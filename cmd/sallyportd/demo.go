package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/daemon"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/sessions/state"
	"sallyport/verify/wire"
)

const (
	demoLease = 5 * time.Second
	// demoLimit is how long the demo waits for each step.
	demoLimit = 30 * time.Second
)

func demoCommand(env cli.Env) *cobra.Command {
	var stay bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show how a knock opens a hidden web server, on the loopback of this computer",
		Long: `Show how a knock opens a hidden web server, and how the server hides again.

Server and client run in this process, on the loopback, with random secrets that
the demo discards. The demo needs no privileges, and removes its files.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := demoDir(env)
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			return runDemo(c.Context(), env, dir, stay)
		},
	}
	c.Flags().BoolVar(&stay, "stay", false, "keep the server running, and print a command to try")
	return c
}

// demoDir makes a directory for the demo: below that for temporary files, or, if an
// image has none, in a file system that is always there.
func demoDir(env cli.Env) (dir string, err error) {
	for _, parent := range []string{"", env.Variable("XDG_RUNTIME_DIR"), "/dev/shm", "/run/sallyport", "."} {
		var failed error
		if dir, failed = os.MkdirTemp(parent, "sallyport-demo-"); failed == nil {
			return filepath.Abs(dir)
		}
		err = errors.Join(err, failed)
	}
	return "", cli.WithHint(fmt.Errorf("make a directory for the demo: %w", err),
		"set TMPDIR to a directory in which this user can make files; a container gets one with --tmpfs /tmp")
}

// demo is a server, a client, and the address of the hidden page.
type demo struct {
	env     cli.Env
	server  *daemon.Server
	profile client.Profile
	nonces  client.NonceFile
	url     string
}

func runDemo(ctx context.Context, env cli.Env, dir string, stay bool) error {
	cfg, list, err := demoConfig(dir)
	if err != nil {
		return err
	}
	if err := state.Create(dir); err != nil {
		return fmt.Errorf("make the state file: %w", err)
	}
	log := slog.New(slog.DiscardHandler)
	if stay {
		// A terminal that is stopped (Ctrl-S) must not stop the server.
		opened := openLog(env, logSettings{path: cfg.Path})
		defer opened.stop()
		log = opened.Logger
	}
	s, err := daemon.New(ctx, cfg, list, nil, daemon.Env{Clock: env.Clock, Log: log})
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() {
		defer stop()
		stopped <- s.Run(ctx)
	}()
	d := demo{
		env: env, server: s, profile: demoProfile(cfg, list[0]),
		url:    "http://" + cfg.Services[0].Listen + "/test1.html",
		nonces: client.NonceFile{Path: filepath.Join(dir, "nonce")},
	}
	err = d.run(ctx)
	if err == nil && stay {
		err = d.stay(ctx, dir, demoProfile(cfg, list[1]))
	}
	stop()
	return errors.Join(err, <-stopped)
}

// demoConfig makes a server with two clients: the first is for the demo, the
// second for the user.
func demoConfig(dir string) (*config.Config, clients.List, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	cfg, err := config.Parse(filepath.Join(dir, config.FileName), fmt.Appendf(nil, `
listen = ["127.0.0.1"]
ports = 3
port_secret = %q
clients = %q
state_dir = "."
[[service]]
name = "web"
type = "web"
listen = %q
open_for = %q
`, secrets.Random(), config.ClientsName, l.Addr(), demoLease))
	if err != nil {
		return nil, nil, fmt.Errorf("make a configuration: %w", err)
	}
	var list clients.List
	for _, id := range []string{"host", "demo"} {
		list = append(list, clients.Client{Identifier: wire.Identifier([]byte(id)), Secret: []byte(secrets.Random())})
	}
	return cfg, list, nil
}

func demoProfile(cfg *config.Config, c clients.Client) client.Profile {
	return client.Profile{
		Server: "127.0.0.1", PortSecret: cfg.PortSecret.Current, Ports: cfg.Ports, Generator: cfg.Generator,
		Identifier: c.Identifier, Secret: c.Secret, Service: cfg.Services[0].Listen,
		OpenFor: cfg.Services[0].Policy.OpenFor,
	}
}

// run runs the steps, and fails at the first one with an unexpected result.
func (d *demo) run(ctx context.Context) error {
	select {
	case <-d.server.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	d.print("the server runs, and hides %s", d.url)
	if err := d.refused(ctx, "before the knock"); err != nil {
		return err
	}
	var sent client.Sent
	result, err := client.Knock(ctx, client.Config{
		Profile: d.profile, Nonces: d.nonces, Now: d.env.Now,
		Report: func(e client.Event) {
			switch e := e.(type) {
			case client.Sent:
				sent = e
				d.print("knocking: %d datagrams of %d bytes to UDP ports %s", len(e.Packets), wire.Size, demoPorts(e.Packets))
			case client.Waiting:
				d.print("another program uses one of the ports; waiting %s for the ports of the next minute", e.For.Round(time.Second))
			}
		},
	})
	if err != nil {
		return err
	}
	d.print("open: %s answers", result.Service)
	status, err := d.get(ctx)
	if err != nil {
		return fmt.Errorf("get the page after the knock: %w", err)
	}
	d.print("GET /test1.html: %s", status)
	if err := d.replay(ctx, sent); err != nil {
		return err
	}
	d.print("waiting until the lease of %s expires", demoLease)
	if err := d.waitClosed(ctx); err != nil {
		return err
	}
	return d.refused(ctx, "after the lease")
}

// refused prints that the port refuses a connection.
func (d *demo) refused(ctx context.Context, when string) error {
	status, err := d.get(ctx)
	if err == nil {
		return fmt.Errorf("the page was served %s: %s", when, status)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.print("GET /test1.html %s: %v", when, hint.Cause(err))
	return nil
}

// replay sends the same datagrams again, to the same ports, and waits until the
// server has rejected each one as a replay.
func (d *demo) replay(ctx context.Context, sent client.Sent) error {
	before := d.server.Sessions()
	for _, p := range sent.Packets {
		c, err := net.Dial("udp", netip.AddrPortFrom(sent.Address, p.Port).String())
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		_, err = c.Write(p.Datagram)
		c.Close()
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
	}
	want := uint64(len(sent.Packets))
	rejected := func() bool {
		return d.server.Sessions()[sessions.Replay]-before[sessions.Replay] == want
	}
	if err := wait(ctx, "the server to reject the replay", rejected); err != nil {
		return err
	}
	if after := d.server.Sessions(); after[sessions.Opened] != before[sessions.Opened] {
		return errors.New("the replay opened a service")
	}
	d.print("replaying the same %d datagrams: all rejected; the lease does not change", want)
	return nil
}

// waitClosed waits until the page is hidden again.
func (d *demo) waitClosed(ctx context.Context) error {
	return wait(ctx, "the server to hide the page", func() bool {
		// A connection during the close is reset.
		_, err := d.get(ctx)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

// stay keeps the server running, for the second client.
func (d *demo) stay(ctx context.Context, dir string, guest client.Profile) error {
	text, err := profilefile.Format(guest)
	if err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	path := filepath.Join(dir, "demo.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	fmt.Fprintf(d.env.Stdout, "\nThe server keeps running. Try this in another terminal:\n\n  XDG_STATE_HOME='%s' go run ./cmd/sallyport knock '%s' && curl %s\n\nCtrl-C ends the server.\n", dir, path, d.url)
	<-ctx.Done()
	return nil
}

// get fetches the page over a new connection.
func (d *demo) get(ctx context.Context) (status string, err error) {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return "", err
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %s", resp.Status)
	}
	return resp.Status, nil
}

func (d *demo) print(format string, args ...any) {
	zone := cmp.Or(d.env.Zone, time.UTC)
	d.env.Out().Printf("%s  %s\n", d.env.Now().In(zone).Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// wait polls until another part of this process has done something.
func wait(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoLimit, fmt.Errorf("waited %s for %s", demoLimit, what))
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func demoPorts(packets []client.Packet) (text string) {
	for i, p := range packets {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprint(p.Port)
	}
	return text
}

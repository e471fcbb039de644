package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/page"
	"sallyport/verify/schedule"
)

// pageResult is the result of "operation page" for programs.
type pageResult struct {
	Operation  string   `json:"operation"`
	File       string   `json:"page_file"`
	Passphrase string   `json:"passphrase"`
	Warnings   []string `json:"warnings,omitempty"`
}

func operationPageCommand(env cli.Env) *cobra.Command {
	var path, server, url, out string
	var asJSON bool
	c := &cobra.Command{
		Use:   "page ID",
		Short: "Make a page with which a browser requests an operation",
		Long: `Make a page with which a browser requests an operation, over HTTPS.

The page is one HTML file, which needs no other. It contains the operation's secret,
encrypted with a passphrase. The command makes the passphrase, and prints it once:
give page and passphrase to their user by different ways.`,
		Example: "  sallyportd operation page ssh-alice --https https://www.example.org --out alice.html",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return cli.Misuse(cli.WithHint(errors.New("the page must be written to a file"), "give --out FILE"))
			}
			cfg, list, err := loadAll(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			m, err := newProfileMaker(c.Context(), env, cfg, list, server)
			if err != nil {
				return cli.Misuse(err)
			}
			plan, err := m.page(args[0], url)
			if err != nil {
				return cli.Misuse(err)
			}
			r := pageResult{Operation: args[0], File: out, Passphrase: page.Passphrase()}
			text, err := page.Make(plan, r.Passphrase)
			if err != nil {
				return cli.Misuse(explainPage(err))
			}
			_, r.Warnings = cfg.Usable(list.Rights(cfg.OperationClients(), env.Now()))
			if err := createProfile(out, text, ""); err != nil {
				return err
			}
			env.ProtectStdout()
			if asJSON {
				return env.Out().JSON(r)
			}
			for _, text := range r.Warnings {
				env.Err().Warning(text, "")
			}
			if err := env.Out().Printf("Passphrase: %s\n", r.Passphrase); err != nil {
				return err
			}
			return env.Err().Printf("The passphrase is printed only here. Give %s and the passphrase to their user by different ways.\n%s", out, expiryOfPage(env, plan))
		},
	}
	c.Flags().StringVar(&url, "https", "", "the `URL` at which the server receives exchanges over HTTPS, such as https://www.example.org")
	c.Flags().StringVar(&server, "server", "", "the host `name` or address by which people reach the service (default \"server\" of the configuration)")
	c.Flags().StringVar(&out, "out", "", "write the page to a new `file`, which only this user can read")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// page returns the plan of an operation's page.
func (m profileMaker) page(id, url string) (p page.Plan, err error) {
	i := slices.IndexFunc(m.cfg.Operations, func(o config.Operation) bool { return o.ID == id })
	if i < 0 {
		return p, noOperation(m.cfg, id)
	}
	o := m.cfg.Operations[i]
	if url == "" {
		return p, cli.WithHint(errors.New("the page must know where the server receives exchanges over HTTPS"), "give --https URL")
	}
	s := m.cfg.Service(o.Service)
	if bind := s.ProfileBind(); !o.Close && !o.RandomPort && (s.RequireISN || s.Proves) {
		return p, cli.WithHint(fmt.Errorf("service %s has bind = %q: a browser cannot make its connections", s.Name, bind),
			"use the operation's profile, or an operation for another service")
	}
	p = page.Plan{
		URL: url, ID: o.ID, Secret: o.Secret, Algorithm: o.Algorithm, RandomPort: o.RandomPort, Close: o.Close,
		Service: s.Name, Host: m.server, UDP: s.UDP, Scheme: s.Scheme(),
		OpenFor: cmp.Or(o.OpenFor, s.Policy.OpenFor), Cut: s.Policy.Cut, Anyone: s.Policy.Anyone,
	}
	p.Public4, p.Public6 = m.publicAddresses()
	if m.cfg.Challenge.Plan.Hop != 0 {
		key := schedule.HopKeyOf(m.cfg.PortSecret.Current)
		p.Hop = &key
	}
	if !o.RandomPort && !s.Rotates() && s.HasPort() {
		p.Port = s.Port()
	}
	if o.UntilClosed || o.Close {
		p.OpenFor = 0
	}
	i = slices.IndexFunc(m.list, func(c clients.Client) bool { return c.Identifier.String() == o.Client })
	if i >= 0 {
		p.Expires = m.list[i].Expires
	}
	return p, nil
}

// publicAddresses returns an address of each family as PID_B of exchanges over HTTP: those
// of the configuration, or those of the server's name, or the server.
func (m profileMaker) publicAddresses() (four, six netip.Addr) {
	server, _ := netip.ParseAddr(m.server)
	for _, a := range slices.Concat(m.cfg.PublicAddresses(), m.addresses.all, []netip.Addr{server.Unmap()}) {
		switch {
		case !a.IsValid():
		case a.Is4() && !four.IsValid():
			four = a
		case a.Is6() && !six.IsValid():
			six = a
		}
	}
	return four, six
}

// explainPage adds what to do to an error of a page.
func explainPage(err error) error {
	switch {
	case errors.Is(err, page.ErrNoAddress):
		return cli.WithHint(err, "set public_address in [challenge]")
	case errors.Is(err, page.ErrOwnAddress):
		return cli.WithHint(err, "set algorithm = 2 or 3, or port = \"random\", for the operation")
	}
	return fmt.Errorf("make the page: %w", err)
}

func expiryOfPage(env cli.Env, p page.Plan) string {
	if p.Expires.IsZero() {
		return ""
	}
	return fmt.Sprintf("The page expires at %s, with its client.\n", env.Time(p.Expires))
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/profile"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge"
	"sallyport/verify/schedule"
)

func operationCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "operation", Short: "Add, list and reset operations of the challenge–response protocol, and make their profiles and pages"})
	group.AddCommand(operationAddCommand(env), operationListCommand(env), operationProfileCommand(env), operationPageCommand(env), operationResetCommand(env))
	return group
}

// operationResult is the result of "operation profile" for programs.
type operationResult struct {
	Operation string `json:"operation"`
	profileResult
	Warnings []string `json:"warnings,omitempty"` // about operations that no client can use
}

func operationProfileCommand(env cli.Env) *cobra.Command {
	var path, server, out string
	var asJSON, withClient bool
	c := &cobra.Command{
		Use:   "profile ID",
		Short: "Print the profile with which a client requests an operation",
		Long: `Print the profile with which a client requests an operation.

It contains the operation's secret; of an operation with public keys, these and the
public half of the host key, but no secret. --with-client adds the keys of the client
that owns the operation: for both protocols, and for a service with bind = "connection",
whose connections prove themselves by the client's secret.

With relay and gateways in [fleet], the profile names the gateways, and the client splits
its exchanges over them. --server makes a profile for one server.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, list, err := loadAll(c.Context(), env, path, config.Secrets)
			if err != nil {
				return err
			}
			m, err := newOperationMaker(c.Context(), env, cfg, list, server, args[0], withClient)
			if err != nil {
				return cli.Misuse(err)
			}
			text, err := m.operation(args[0])
			if err == nil && withClient {
				text, err = m.withClient(args[0], text)
			}
			if err != nil {
				return cli.Misuse(err)
			}
			result := operationResult{Operation: args[0], profileResult: profileResult{Profile: string(text)}}
			_, result.Warnings = cfg.Usable(list.Rights(cfg.OperationClients(), env.Now()))
			if out != "" {
				result.profileResult = profileResult{File: out}
				if err := createProfile(out, text, ""); err != nil {
					return err
				}
			}
			if out == "" {
				env.ProtectStdout()
			}
			if asJSON {
				if m.addresses.note != "" {
					result.Warnings = append(result.Warnings, m.addresses.note)
				}
				return env.Out().JSON(result)
			}
			for _, text := range result.Warnings {
				env.Err().Warning(text, "")
			}
			from, bind := "-", client.BindAddress
			if p, err := profile.Parse("profile", text); err == nil && p.Challenge != nil {
				bind = p.Challenge.Bind
			}
			if out == "" {
				if _, err = env.Stdout.Write(text); err != nil {
					return err
				}
			} else {
				from = filepath.Base(out)
			}
			what, secretless := "", false
			for _, o := range cfg.Operations {
				if o.ID == args[0] && o.Signed && !withClient {
					secretless = cfg.Challenge.Plan.Hop == 0 // its key is derived from the port secret
				}
				if o.ID == args[0] && bind == client.BindConnection && !withClient {
					bind = client.BindAddress // "connect" would need the client's secret
					what = fmt.Sprintf("Connections to service %s prove themselves by the secret of client %s, which this profile does not have: --with-client adds it.\n", o.Service, o.Client)
				}
				if o.ID == args[0] && o.UntilClosed {
					what += fmt.Sprintf("The operation opens service %s until it is closed%s.\n", o.Service, closedBy(cfg, o))
				}
			}
			transfer := transferProfile
			if secretless {
				transfer = transferSigned
			}
			err = env.Err().Printf("%s%s  sallyport profile add %s NAME\n  sallyport %s NAME\n", what, transfer, from, tryCommand(bind))
			return errors.Join(err, printNote(env, m.addresses.note))
		},
	}
	c.Flags().StringVar(&server, "server", "", "the host `name` or address by which the client reaches the server (default \"server\" of the configuration)")
	c.Flags().StringVar(&out, "out", "", "write the profile to a new `file`, which only this user can read, instead of printing it")
	c.Flags().BoolVar(&withClient, "with-client", false, "add the keys of the client that owns the operation")
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// operation returns the profile of an operation as a file.
func (m profileMaker) operation(id string) ([]byte, error) {
	cfg := m.cfg
	for _, o := range cfg.Operations {
		if o.ID != id {
			continue
		}
		if err := m.receives(); err != nil {
			return nil, err
		}
		p := profilefile.Operation{
			Server: m.server, Addresses: m.addresses.all, Gateways: m.gateways, ID: o.ID, Secret: o.Secret, Algorithm: o.Algorithm, RandomPort: o.RandomPort,
		}
		if o.Signed {
			if len(o.Keys) == 0 {
				return nil, fmt.Errorf("operation %q has no public key", id)
			}
			p.HostKey, p.PublicKeys = cfg.Challenge.HostKey.Public(), o.Keys
		}
		setPackets(&p, cfg)
		if err := setCarriers(&p, cfg, o); err != nil {
			return nil, err
		}
		if !o.Close && !o.RandomPort {
			s := cfg.Service(o.Service)
			p.Service, p.Bind, p.ServiceName = s.ProfileService(), s.ProfileBind(), s.ProfileServiceName()
			if p.OpenFor = cmp.Or(o.OpenFor, s.Policy.OpenFor); o.UntilClosed {
				p.OpenFor = 0
			}
			if p.Service != "" {
				p.Handshake = m.handshake(s)
			}
		}
		text, err := profilefile.FormatOperation(p)
		if err != nil {
			return nil, fmt.Errorf("write the profile: %w", err)
		}
		return text, checkProfile(text)
	}
	return nil, noOperation(cfg, id)
}

// noOperation returns the error for an ID that no operation has.
func noOperation(cfg *config.Config, id string) error {
	if len(cfg.Operations) == 0 {
		return cli.WithHint(fmt.Errorf("there is no operation %q: %s has no [[operation]] table", id, cfg.Path),
			"an operation belongs to the challenge–response protocol; for a client's profile: sallyportd client profile IDENTIFIER")
	}
	var known []string
	for _, o := range cfg.Operations {
		known = append(known, o.ID)
	}
	return fmt.Errorf("there is no operation %q in %s; expected %s", id, cfg.Path, strings.Join(known, ", "))
}

// setPackets sets how a profile's requests travel as empty packets, if they do, and how they
// age.
func setPackets(p *profilefile.Operation, cfg *config.Config) {
	c := cfg.Challenge
	if c.Plan.Hop != 0 {
		p.Hop, p.HopKey = c.Plan.Hop, schedule.HopKeyOf(cfg.PortSecret.Current)
	}
	if c.CarriersOnly {
		return
	}
	p.Request, p.Response, p.SharedPorts = c.Plan.Request, c.Plan.Response, c.Plan.Shared
	if a := c.Answers; a != nil {
		p.AnswerPort = a.Port
	}
}

// setCarriers sets how a profile's requests travel over HTTPS and DNS. The profile names
// the zone only if an exchange for a connection does what the operation does.
func setCarriers(p *profilefile.Operation, cfg *config.Config, o config.Operation) error {
	p.HTTPS = cfg.URL()
	p.Tunnel = cfg.Tunnel() && !o.Close && o.Service != "" && !cfg.Service(o.Service).UDP
	if d := cfg.DNS(); d != nil && (o.RandomPort || cfg.Service(o.Service).Proves) {
		p.DNS = d.Zone.Name
	}
	if cfg.Challenge.CarriersOnly && p.HTTPS == "" && p.DNS == "" {
		return cli.WithHint(fmt.Errorf("no client could request operation %q: the server has no listener with TLS for it", o.ID),
			"set tls_cert and tls_key in [[challenge.http]]; or trusted_proxies, if a server before it does TLS")
	}
	return nil
}

// receives returns an error if a server of the profile receives no requests at its address.
func (m profileMaker) receives() error {
	if m.cfg.Challenge.CarriersOnly {
		return nil
	}
	if m.gateways == nil {
		return receivesAt(m.cfg.Challenge.Plan, m.server)
	}
	for _, g := range m.gateways {
		if err := receivesAt(m.cfg.Challenge.Plan, g.Server); err != nil {
			return err
		}
	}
	return nil
}

// receivesAt returns an error if the server is an address of a family over which it
// receives no requests: no client can use such a profile.
func receivesAt(p challenge.Plan, server string) error {
	a, err := netip.ParseAddr(server)
	family, other := "IPv4", "IPv6"
	if err == nil && !a.Unmap().Is4() {
		family, other = other, family
	}
	if err != nil || family == "IPv4" && !p.NoIPv4 || family == "IPv6" && !p.NoIPv6 {
		return nil
	}
	return cli.WithHint(fmt.Errorf("the profile names the server %s, but the server receives requests over %s only", server, other),
		"give --server NAME, or --server with an address of the other family; or change listen")
}

// closedBy returns which operations close what an operation opens until it is closed.
func closedBy(cfg *config.Config, opens config.Operation) string {
	var names []string
	for _, o := range cfg.Operations {
		if o.Closes(opens) {
			names = append(names, o.ID)
		}
	}
	if names == nil {
		return ", which only the administrator can do: no operation closes it"
	}
	return ", from the same address, by " + strings.Join(names, " or ")
}

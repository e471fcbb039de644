package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
)

// jsonErrorFlag adds --json to a command whose standard output is that of another
// program. Package cli prints the error.
func (o *knockOptions) jsonErrorFlag(c *cobra.Command) {
	c.Flags().BoolVar(&o.json, "json", false, "print an error of sallyport as JSON on standard output")
}

// load loads the profile for run and connect. They print only on standard error, since
// standard output belongs to the command or the service.
func (o *knockOptions) load(c *cobra.Command, env cli.Env, name string) (client.Profile, error) {
	p, err := profiles(c, env).Load(c.Context(), name)
	return p, cli.Misuse(err)
}

// canReplace returns an error if the words of the command have {port}, and the profile
// names no service.
func (o *knockOptions) canReplace(name string, p client.Profile, words []string) error {
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return err
	}
	hasPort := p.Service != "" || challenge && (p.Challenge.Service != "" || p.Challenge.Operation.RandomPort())
	if !hasPort && strings.Contains(strings.Join(words, " "), "{port}") {
		return cli.WithHint(fmt.Errorf("the command has {port}, but profile %s names no service", name),
			"add service = \":PORT\" to the profile, or :PORT/udp for a UDP service; or write the port")
	}
	return nil
}

// changesPort returns why a later knock opens another port; empty: it does not.
func (o *knockOptions) changesPort(p client.Profile) (string, error) {
	challenge, err := o.usesChallenge(p)
	if err != nil {
		return "", err
	}
	s, err := client.ParseService(p.Service)
	switch {
	case challenge && p.Challenge.Operation.RandomPort():
		return "is for one connection", nil
	case !challenge && err == nil && s.Rotates:
		return "rotates", nil
	}
	return "", nil
}

package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/firewall"
	"sallyport/sessions/gate/guard"
)

const takeOverName = "take-over"

func addTakeOverFlag(c *cobra.Command, takeOver *bool) {
	c.Flags().BoolVar(takeOver, takeOverName, false, "take the place of the firewall's table of another configuration: what that hides is open then")
}

// ownerOf is whose the table of a configuration is: the file tells configurations
// apart, its content what the table was made from.
func ownerOf(cfg *config.Config) firewall.Owner {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		path = cfg.Path // the working directory is gone: as good as another name
	}
	digest := cfg.Digest()
	return firewall.Owner{Config: path, Generation: fmt.Sprintf("%x", digest[:8])}
}

// of says whose a table is, for after its name.
func of(s firewall.Standing) string {
	switch s.Kind {
	case firewall.Owned:
		return " of " + s.Owner.Config
	case firewall.Earlier:
		return " of an earlier release"
	case firewall.Foreign:
		return ", which sallyportd has not made"
	}
	return ""
}

// whose adds what to do to the refusal of another's table.
func whose(err error) error {
	if taken := (*firewall.OwnedError)(nil); errors.As(err, &taken) {
		return cli.WithHint(err, privilege.TakeOverHint)
	}
	return err
}

// refuseOthers leaves another's table alone.
func refuseOthers(found firewall.Standing, cfg *config.Config) error {
	if found.Kind == firewall.Foreign || found.Kind == firewall.Owned && found.Owner.Config != ownerOf(cfg).Config {
		return cli.WithHint(&firewall.OwnedError{Kind: found.Kind, Owner: found.Owner}, "--take-over removes it all the same, and opens what it hides")
	}
	return nil
}

// refuseGuarded leaves the table to whoever guards it.
func refuseGuarded(cfg *config.Config) error {
	guarded, err := guard.Alive()
	if err != nil {
		return err
	}
	if guarded || admin.Running(cfg.AdminSocket) {
		return cli.WithHint(errors.New("a process guards the firewall's table, and would make it anew"), "stop it first: the server, or \"sallyportd firewall hold\"")
	}
	return nil
}

// left says what to do about a table that a configuration has left behind, which
// has nothing for the firewall any more; empty: none is known.
func left(cfg *config.Config) string {
	found, err := firewall.Inspect()
	if err != nil || found.Kind == firewall.Absent || refuseOthers(found, cfg) != nil {
		return ""
	}
	return fmt.Sprintf("; the table inet %s%s stands here all the same, and hides what it did: \"sallyportd firewall clear\" removes it", firewall.Name, of(found))
}

// standing says what stands there, whose it is, and whether a process guards it.
func standing() (string, error) {
	found, err := firewall.Inspect()
	if err != nil {
		return "", err
	}
	guarded, err := guard.Alive()
	if err != nil {
		return "", err
	}
	by := "nothing guards it"
	if guarded {
		by = "a process guards it"
	}
	switch {
	case found.Kind == firewall.Absent:
		return "no table", nil
	case found.Kind == firewall.Owned && found.Intact:
		by = "as it was made; " + by
	case found.Kind == firewall.Owned:
		by = "not as it was made; " + by
	}
	return fmt.Sprintf("table inet %s%s, %s", firewall.Name, of(found), by), nil
}

// exposed says that what the configuration hides is open, if no table stands
// there, as far as this process may look.
func exposed(cfg *config.Config, host config.Host) (warnings []string) {
	if !host.NetAdmin() || cfg.NeedsFirewall(host) == "" {
		return nil
	}
	if there, err := firewall.Present(); err != nil || there {
		return nil // abandoned says what is wrong
	}
	return []string{fmt.Sprintf("there is no table inet %s now: what it is to hide is open to everybody until a server or \"sallyportd firewall hold\" begins; \"sallyportd firewall load\" closes it", firewall.Name)}
}

// abandoned says what of the firewall's table that stands there is wrong, as far as
// this process may look.
func abandoned(cfg *config.Config, host config.Host) (warnings []string) {
	guarded, err := guard.Alive()
	if err != nil {
		return []string{err.Error()}
	}
	if !host.NetAdmin() {
		if guarded && cfg.NeedsFirewall(host) == "" {
			return []string{fmt.Sprintf("a process guards the firewall's table inet %s, though this configuration has nothing for the firewall: if the table is this one's, from before, services, and with stealth knocks, do not get through; \"sallyportd check\" with CAP_NET_ADMIN says whose it is", firewall.Name)}
		}
		return nil
	}
	found, err := firewall.Inspect()
	if err != nil {
		return []string{fmt.Sprintf("the firewall's table cannot be read: %v", err)}
	}
	needed := cfg.NeedsFirewall(host) != ""
	others := refuseOthers(found, cfg) != nil
	name := fmt.Sprintf("the firewall's table inet %s%s", firewall.Name, of(found))
	switch {
	case found.Kind == firewall.Absent:
		return nil
	case others && guarded:
		return []string{name + " stands here, and a process guards it: the services of both configurations cannot be behind it"}
	case others:
		return []string{name + " stands here, and nothing guards it: what it hides stays hidden, whoever needs it; \"sallyportd firewall clear --take-over\" removes it"}
	case !needed && guarded:
		return []string{name + " stands here, and a process guards it, though this configuration has nothing for the firewall any more: stop that process, and then \"sallyportd firewall clear\" removes the table"}
	case !needed:
		return []string{name + " stands here, though this configuration has nothing for the firewall any more: services, and with stealth knocks, do not get through; \"sallyportd firewall clear\" removes it"}
	case found.Kind == firewall.Owned && !found.Intact && !guarded:
		return []string{name + " is not as it was made, and nothing guards it: what it is to hide may be open; \"sallyportd firewall load\" makes it anew"}
	}
	return nil
}

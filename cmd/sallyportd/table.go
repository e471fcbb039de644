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

// abandoned says what of the firewall's table that stands there is wrong, as far as
// this process may look.
func abandoned(cfg *config.Config, host config.Host) (warnings []string) {
	if !host.NetAdmin() {
		return nil
	}
	found, err := firewall.Inspect()
	if err != nil {
		return []string{fmt.Sprintf("the firewall's table cannot be read: %v", err)}
	}
	guarded, err := guard.Alive()
	if err != nil {
		return []string{err.Error()}
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

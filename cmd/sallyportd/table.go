package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

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
	c.Flags().BoolVar(takeOver, takeOverName, false, "replace the firewall table of another configuration; what that table hides is then open")
}

// ownerOf returns the owner that a configuration writes into its table: the path
// of the file distinguishes configurations, and the digest of the content the
// versions of one.
func ownerOf(cfg *config.Config) firewall.Owner {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		path = cfg.Path // the working directory was removed; the relative path distinguishes as well
	}
	digest := cfg.Digest()
	return firewall.Owner{Config: path, Generation: fmt.Sprintf("%x", digest[:8])}
}

// tableOf returns the configuration of the firewall's table on this host.
func tableOf(cfg *config.Config) (f firewall.Config, err error) {
	f = cfg.Firewall()
	if slices.ContainsFunc(f.Ports, func(p firewall.Port) bool { return p.Listener != 0 }) {
		f.Users, err = privilege.ServerUsers(cfg.User)
	}
	return f, err
}

// tableName returns the name of a table that exists, with its owner.
func tableName(s firewall.Standing) string {
	name := "table inet " + firewall.Name
	switch s.Kind {
	case firewall.Owned:
		return name + " of " + s.Owner.Config
	case firewall.Earlier:
		return name + " of an earlier release"
	case firewall.Foreign:
		return name + ", which another program made"
	case firewall.Prepared:
		return name + " with nothing but your chains"
	}
	return name
}

// withTakeOverHint adds what to do to the error about a table of another owner.
func withTakeOverHint(err error) error {
	var owned *firewall.OwnedError
	if errors.As(err, &owned) {
		return cli.WithHint(err, privilege.TakeOverHint)
	}
	return err
}

// checkOwner returns an error if the table that exists belongs to another owner.
func checkOwner(found firewall.Standing, cfg *config.Config) error {
	otherConfig := found.Kind == firewall.Owned && found.Owner.Config != ownerOf(cfg).Config
	if found.Kind == firewall.Foreign || found.Kind == firewall.Prepared && jumping(cfg, "") == "" || otherConfig {
		return cli.WithHint(&firewall.OwnedError{Kind: found.Kind, Owner: found.Owner},
			"--take-over removes it nevertheless, and opens the services that it hides")
	}
	return nil
}

// checkUnguarded returns an error if a process restores the table.
func checkUnguarded(cfg *config.Config) error {
	guarded, err := guard.Alive()
	if err != nil {
		return err
	}
	if guarded || admin.Running(cfg.AdminSocket) {
		return cli.WithHint(errors.New("a process guards the firewall's table, and would restore it"), "stop that process first: the server, or \"sallyportd firewall hold\"")
	}
	return nil
}

// leftoverHint returns what to do about the table of a configuration that no
// longer requires the firewall; empty: there is no such table.
func leftoverHint(cfg *config.Config) string {
	found, err := firewall.Inspect()
	if err != nil || found.Kind == firewall.Absent || checkOwner(found, cfg) != nil {
		return ""
	}
	return fmt.Sprintf("\n%s still exists, and hides the same services as before: \"sallyportd firewall clear\" removes it", tableName(found))
}

// tableState describes the table that exists, its owner, and whether a process
// guards it.
func tableState() (string, error) {
	found, err := firewall.Inspect()
	if err != nil {
		return "", err
	}
	guarded, err := guard.Alive()
	if err != nil {
		return "", err
	}
	if found.Kind == firewall.Absent {
		return "no table", nil
	}
	text := tableName(found)
	if found.Kind == firewall.Owned && found.Intact {
		text += ", unchanged"
	} else if found.Kind == firewall.Owned {
		text += ", changed by another program"
	}
	if guarded {
		return text + "; a process guards it", nil
	}
	return text + "; no process guards it", nil
}

// checkTable warns about the table that exists, and about one that does not, as
// far as this process can read it.
func checkTable(cfg *config.Config, host config.Host) []finding {
	return append(checkLeftTable(cfg, host), checkMissingTable(cfg, host)...)
}

// checkMissingTable warns if the configuration requires a table, and there is
// none.
func checkMissingTable(cfg *config.Config, host config.Host) []finding {
	if !host.NetAdmin() || cfg.NeedsFirewall(host) == "" {
		return nil
	}
	found, err := firewall.Inspect()
	missing := found.Kind == firewall.Absent || found.Kind == firewall.Prepared && checkOwner(found, cfg) == nil
	if err != nil || !missing {
		return nil // checkLeftTable reports what is wrong
	}
	what := "there is no table inet " + firewall.Name
	if found.Kind == firewall.Prepared {
		what = "the table inet " + firewall.Name + " has only the operator's chains"
	}
	return []finding{warn("firewall-table-missing", "\"sallyportd firewall load\" closes them now",
		"%s: the services behind the firewall are open to anyone until a server or \"sallyportd firewall hold\" starts", what)}
}

// checkLeftTable warns if the table that exists does not match the configuration,
// as far as this process can read it.
func checkLeftTable(cfg *config.Config, host config.Host) []finding {
	needed := cfg.NeedsFirewall(host) != ""
	guarded, err := guard.Alive()
	if err != nil {
		return []finding{warn("firewall-table-unreadable", "", "%v", err)}
	}
	if !host.NetAdmin() {
		if guarded && !needed {
			return []finding{warn("firewall-table-unneeded", "\"sallyportd check\" with CAP_NET_ADMIN shows which configuration the table belongs to",
				"a process guards the firewall's table inet %s, but this configuration does not require the firewall: if the table remains from this configuration, it blocks services, and knocks if stealth was set", firewall.Name)}
		}
		return nil
	}
	found, err := firewall.Inspect()
	if err != nil {
		return []finding{warn("firewall-table-unreadable", "", "cannot read the firewall's table: %v", err)}
	}
	others := checkOwner(found, cfg) != nil
	name := "the firewall's " + tableName(found)
	switch {
	case found.Kind == firewall.Absent:
		return nil
	case others && guarded:
		return []finding{warn("firewall-table-foreign", "", "%s exists, and a process guards it: one table cannot guard the services of two configurations", name)}
	case others:
		return []finding{warn("firewall-table-foreign", "\"sallyportd firewall clear --take-over\" removes it",
			"%s exists, and no process guards it: the services that it hides stay hidden", name)}
	case !needed && guarded:
		return []finding{warn("firewall-table-unneeded", "stop that process, then \"sallyportd firewall clear\" removes the table",
			"%s exists, and a process guards it, but this configuration no longer requires the firewall", name)}
	case !needed:
		return []finding{warn("firewall-table-unneeded", "\"sallyportd firewall clear\" removes it",
			"%s exists, but this configuration no longer requires the firewall: the table blocks services, and knocks if stealth was set", name)}
	case found.Kind == firewall.Owned && !found.Intact && !guarded:
		return []finding{warn("firewall-table-changed", "\"sallyportd firewall load\" restores it",
			"another program has changed %s, and no process guards it: services behind the firewall may be open", name)}
	}
	return checkJumps(cfg, found)
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
	"sallyport/sessions/gate/firewall"
)

// tableResult is the result of a command that changes the firewall's table, for
// programs.
type tableResult struct {
	Table   string `json:"table"`
	Changed bool   `json:"changed"`
	State   string `json:"state"`            // closed, or absent
	Before  string `json:"before,omitempty"` // the table that existed before; empty: there was none
	// OnTrial are services of a trial that was not confirmed: open to anyone when it is over.
	OnTrial []string `json:"on_trial,omitempty"`
	// Lost are the operator's chains whose rules are gone.
	Lost []string `json:"lost_rules,omitempty"`
	// Refused is why the kernel refuses the jumps to the operator's chains.
	Refused string `json:"jump_refused,omitempty"`
}

func newTableResult(state string, before firewall.Standing) tableResult {
	r := tableResult{Table: "inet " + firewall.Name, Changed: true, State: state}
	if before.Kind != firewall.Absent {
		r.Before = tableName(before)
	}
	return r
}

func firewallCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "firewall", Short: "Hold the firewall's table, or load or remove it by hand"})
	group.AddCommand(firewallHoldCommand(env), firewallLoadCommand(env), firewallReloadCommand(env), firewallClearCommand(env))
	return group
}

func firewallLoadCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver, asJSON bool
	c := &cobra.Command{
		Use:   "load",
		Short: "Hide the services behind the firewall, before the server or the network starts",
		Long: `Hide the services behind the firewall, before the server or the network starts.

The command requires CAP_NET_ADMIN. It reads only the configuration, neither
secrets nor clients. The table stays until "firewall clear"; "serve" and
"firewall hold" take it over. Until then no process restores it if another
program removes it; "firewall hold" does. Services of a trial that was not confirmed
are closed for the rest of its time only, and then open to anyone.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadFirewall(path)
			if err != nil {
				return err
			}
			if err := checkUnguarded(cfg); err != nil {
				return err
			}
			of, err := tableOf(cfg)
			if err != nil {
				return err
			}
			before, err := firewall.Inspect()
			if err != nil {
				return fmt.Errorf("load the firewall's table: %w", err)
			}
			setLogFormat(cfg)
			log := openLog(env, logSettings{path: path})
			trial, err := decideTrial(cfg, privilege.TrialQuestion{Before: before, Log: log.Logger}, env.Clock)
			log.stop()
			of.Trial = trial.On
			if err != nil {
				return fmt.Errorf("load the firewall's table: %w", err)
			}
			table, err := firewall.Claim(of, ownerOf(cfg), takeOver, env.Clock)
			if err != nil {
				return fmt.Errorf("load the firewall's table: %w", withTakeOverHint(err))
			}
			result, jumps := newTableResult("closed", before), table.Jumps()
			result.OnTrial = onTrial(cfg, of.Trial)
			if result.Lost = jumps.Lost; jumps.Refused != nil {
				result.Refused = jumps.Refused.Error()
			}
			if asJSON {
				return env.Out().JSON(result)
			}
			replaced := ""
			if before.Kind != firewall.Absent {
				replaced = fmt.Sprintf("replaced: %s\n", tableName(before))
			}
			if replaced += lostText(result.Lost); result.Refused != "" {
				replaced += result.Refused + "\n"
			}
			if len(result.OnTrial) > 0 {
				return env.Out().Printf("%sloaded: table inet %s; services behind the firewall are closed, except those of a trial that was not confirmed: %s\n",
					replaced, firewall.Name, strings.Join(result.OnTrial, ", "))
			}
			return env.Out().Printf("%sloaded: table inet %s; every service behind the firewall is closed\n", replaced, firewall.Name)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}

func firewallClearCommand(env cli.Env) *cobra.Command {
	var path string
	var takeOver, asJSON bool
	c := &cobra.Command{
		Use:        "clear",
		SuggestFor: []string{"remove", "delete", "unload", "open"},
		Short:      "Remove the firewall's table: the services behind it are then open to anyone",
		Long: `Remove the firewall's table: the services behind it are then open to anyone.

The rules of your chains in the table ("jump" of a service) are removed with it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			before, err := firewall.Inspect()
			if err != nil {
				return fmt.Errorf("remove the firewall's table: %w", err)
			}
			// If the configuration is not valid, its path alone still identifies its
			// table.
			cfg, loadErr := config.Load(path, config.Alone)
			if loadErr != nil {
				cfg = &config.Config{Path: path}
			}
			if err := checkUnguarded(cfg); err != nil {
				return err
			}
			if err := checkOwner(before, cfg); err != nil && !takeOver {
				return fmt.Errorf("remove the firewall's table: %w", err)
			}
			result := newTableResult("absent", before)
			result.Changed = before.Kind != firewall.Absent
			if result.Changed {
				if err := firewall.Clear(); err != nil {
					return fmt.Errorf("remove the firewall's table: %w", err)
				}
				result.Lost = withRules(before.Chains)
			}
			switch {
			case asJSON:
				return env.Out().JSON(result)
			case !result.Changed:
				return env.Out().Printf("there is no table inet %s\n", firewall.Name)
			}
			return env.Out().Printf("removed: %s; the services that it hid are now open to anyone\n%s", tableName(before), lostText(result.Lost))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	addTakeOverFlag(c, &takeOver)
	return c
}

package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
)

// reloadResult is the result of "reload" for programs.
type reloadResult struct {
	Reloaded bool `json:"reloaded"`
	Clients  int  `json:"clients"`
	// OutdatedProfiles are the keys that profiles repeat, and that have changed.
	OutdatedProfiles []string `json:"outdated_profiles,omitempty"`
	// OnTrial is what is on trial, with --trial; until is null if the trial is over.
	OnTrial []admin.Trial `json:"on_trial,omitempty"`
}

func reloadCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	var try trialFlag
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make the running server read its configuration and clients again",
		Long: `Make the running server read its configuration and clients again.

The server checks everything before it changes anything. On an error, the running
configuration stays in force, and the command prints the error. SIGHUP does the
same. The server notices a change of the clients file without either.

With --trial, what the configuration newly hides (stealth) is hidden for a time only,
as with "serve --trial". A new service requires a restart: "serve --trial", or
"firewall reload --trial" if "firewall hold" runs.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			var done admin.Reloaded
			err = needServer(c.Context(), cfg, func(conn admin.Conn) (err error) {
				if try.asked != nil {
					done, err = conn.ReloadOnTrial(c.Context(), *try.asked)
				} else {
					done, err = conn.Reload(c.Context())
				}
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(reloadResult{true, done.Clients, done.OutdatedProfiles, done.OnTrial})
			}
			err = env.Out().Printf("reloaded: %s\n", count(done.Clients, "client"))
			if err == nil && try.asked != nil {
				err = env.Out().Printf("%s\n", trialText(*try.asked, done.OnTrial, env.Out().Time))
			}
			if err != nil || len(done.OutdatedProfiles) == 0 {
				return err
			}
			return env.Err().Warning("profiles are outdated, because these keys have changed: "+strings.Join(done.OutdatedProfiles, ", "),
				withConfig(reissueAll, cfg.Path))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	addTrialFlag(c.Flags(), &try)
	return c
}

// trialText returns what is on trial after a command with --trial.
func trialText(asked time.Duration, list []admin.Trial, at func(time.Time) string) string {
	if len(list) == 0 {
		return nothingOnTrial(asked)
	}
	var texts []string
	for _, t := range list {
		if t.Until == nil {
			texts = append(texts, t.Service+" (over: open to anyone)")
		} else {
			texts = append(texts, t.Service+" until "+at(*t.Until))
		}
	}
	return "on trial; get in by a knock, and run \"sallyportd confirm\": " + strings.Join(texts, ", ")
}

// nothingOnTrial is the answer to --trial if nothing is on trial afterwards.
func nothingOnTrial(asked time.Duration) string {
	if asked == 0 { // services that were open to anyone may be closed now
		return "nothing is on trial; hidden services are closed for good, except to clients that knock"
	}
	return "nothing is newly hidden, so nothing is on trial"
}

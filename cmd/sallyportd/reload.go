package main

import (
	"strings"

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
}

func reloadCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "reload",
		Short: "Make the running server read its configuration and clients again",
		Long: `Make the running server read its configuration and clients again.

The server checks everything before it changes anything. On an error, the running
configuration stays in force, and the command prints the error. SIGHUP does the
same. The server notices a change of the clients file without either.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, config.Alone)
			if err != nil {
				return cli.Misuse(err)
			}
			done, err := admin.Conn{Socket: cfg.AdminSocket}.Reload(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return env.Out().JSON(reloadResult{true, done.Clients, done.OutdatedProfiles})
			}
			err = env.Out().Printf("reloaded: %s\n", count(done.Clients, "client"))
			if err != nil || len(done.OutdatedProfiles) == 0 {
				return err
			}
			return env.Err().Warning("profiles are outdated, because these keys have changed: "+strings.Join(done.OutdatedProfiles, ", "),
				withConfig(reissueAll, cfg.Path))
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

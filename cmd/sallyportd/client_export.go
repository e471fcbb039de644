package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/fleetlist"
)

// exportedClients is the result of "client export" for programs.
type exportedClients struct {
	Clients int    `json:"clients"`
	Version uint64 `json:"version"`
	File    string `json:"file,omitempty"`
	Text    string `json:"text,omitempty"` // without a file
}

func clientExportCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Print the fleet's list, with secrets, as a clients file",
		Long: `Print the fleet's list of clients, with their secrets, as a clients file; or write
it to a new file, which only this user can read. It requires clients = "fleet".

"client import" reads such a file, and a gateway with clients = "FILE" uses it. It is
the backup of the list: a backup of etcd restores it only together with the key file.`,
		Example: "  sallyportd client export backup.txt",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := loadEtcdList(env, path)
			if err != nil {
				return err
			}
			var lines []clients.Line
			var done exportedClients
			err = f.with("read", func(l *fleetlist.List) (err error) {
				lines, done.Version, err = l.Read(c.Context())
				return err
			})
			if err != nil {
				return err
			}
			var text strings.Builder
			for _, l := range lines {
				text.WriteString(l.Text + "\n")
			}
			done.Clients = len(lines)
			if len(args) == 1 {
				done.File = args[0]
				err := secretfile.Create(args[0], []byte(text.String()))
				if errors.Is(err, fs.ErrExist) {
					err = cli.Misuse(cli.WithHint(err, "name a new file, or move the old one away"))
				}
				if err != nil {
					return hint.Writing(fmt.Errorf("write the clients: %w", err))
				}
			} else {
				env.ProtectStdout()
				done.Text = text.String()
			}
			switch {
			case asJSON:
				return env.Out().JSON(done)
			case done.File == "":
				_, err = env.Stdout.Write([]byte(done.Text))
				return err
			}
			return env.Err().Printf("Wrote %s, with %s of version %d of the list, and their secrets.\n", done.File, countClients(done.Clients), done.Version)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

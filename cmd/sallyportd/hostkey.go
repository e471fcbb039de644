package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/verify/challenge/exchange"
)

// hostKeyResult is the result of the host-key commands for programs.
type hostKeyResult struct {
	Public string `json:"public"`
	File   string `json:"file,omitempty"` // that was made
}

func hostKeyCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "host-key", Short: "Make the key by which the server proves its identity to clients with public keys"})
	group.AddCommand(hostKeyCreateCommand(env), hostKeyShowCommand(env))
	return group
}

func hostKeyCreateCommand(env cli.Env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "create FILE",
		Short: "Make a host key in a new file",
		Long: `Make a host key in a new file, which only this user can read.

Operations with public keys require it: host_key_file in [challenge]. Their profiles
contain the public half. An attacker who reads the file can imitate the server, and
open nothing. With another host key, each of these profiles must be made again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			key, err := createHostKey(args[0])
			if err != nil {
				return cli.Misuse(err)
			}
			if asJSON {
				return env.Out().JSON(hostKeyResult{Public: key.Public().String(), File: args[0]})
			}
			// In the configuration, a path is relative to the directory of that file.
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return env.Out().Printf("Made %s. Its public key:\n  %s\n\nNext, add this line to [challenge], and restart or reload the server:\n  host_key_file = %q\n",
				args[0], key, path)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	return c
}

// createHostKey makes a host key in a new file.
func createHostKey(path string) (*exchange.HostKey, error) {
	key, err := exchange.NewHostKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	err = secretfile.Create(path, []byte(key.Secret()+"\n"))
	if errors.Is(err, fs.ErrExist) {
		err = cli.WithHint(err, "choose another name: profiles may contain the public half of that key")
	}
	if err != nil {
		return nil, hint.Writing(fmt.Errorf("write the host key: %w", err))
	}
	return key, nil
}

func hostKeyShowCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the public half of the host key",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			if cfg.Challenge == nil || cfg.Challenge.HostKey == nil {
				return cli.Misuse(cli.WithHint(fmt.Errorf("%s has no host_key_file in [challenge]", path), "make one: sallyportd host-key create FILE"))
			}
			if asJSON {
				return env.Out().JSON(hostKeyResult{Public: cfg.Challenge.HostKey.String()})
			}
			return env.Out().Printf("%s\n", cfg.Challenge.HostKey)
		},
	}
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

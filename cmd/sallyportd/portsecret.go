package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/secrets"
	"sallyport/sessions/durable"
)

func portSecretCommand(env cli.Env) *cobra.Command {
	group := cli.Group(&cobra.Command{Use: "port-secret", Short: "Change the secret from which the ports are drawn"})
	var path string
	var valid validity
	roll := &cobra.Command{
		Use:   "roll",
		Short: "Make a new port secret; the ports of the old one stay open for a while",
		Long: `Make a new port secret; the ports of the old one stay open for a while.

Every client needs a new profile until then. The server takes the change at
the next reload.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			until, err := valid.end(env.Now())
			if err != nil {
				return cli.Misuse(err)
			}
			cfg, err := config.Load(path, config.Secrets)
			if err != nil {
				return cli.Misuse(err)
			}
			unlock, err := clients.Lock(c.Context(), cfg.Path)
			if err != nil {
				return fmt.Errorf("lock the configuration: %w", err)
			}
			defer unlock()
			cfg, list, err := loadAll(path, config.Secrets) // what another roll has left
			if err != nil {
				return cli.Misuse(err)
			}
			if err := rollPortSecret(cfg, env.Now(), until); err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, `Made a new port secret. The ports of the old one stay open until %s.

Next:
  sallyportd reload -c %[2]s
`, until.Format(time.RFC3339), cfg.Path)
			for _, c := range list {
				fmt.Fprintf(env.Stdout, "  sallyportd client profile %s -c %s\n", c.Identifier, cfg.Path)
			}
			return nil
		},
	}
	valid.flags(roll)
	addConfigFlag(roll, &path)
	group.AddCommand(roll)
	return group
}

// rollPortSecret replaces the port secret in steps of which each leaves a
// configuration that serves: the secret of now is kept as the previous one,
// then named as such, and only then replaced.
func rollPortSecret(cfg *config.Config, now, until time.Time) error {
	if cfg.PortSecret.Path == "" {
		return cli.Misuse(cli.WithHint(fmt.Errorf("%s holds the port secret itself", cfg.Path), "move it to a file of its own, and name that with port_secret_file"))
	}
	// With both the same, a roll was cut short before its last step: it is done
	// again, so that the date is that of now.
	if cfg.PortSecret.Previous != "" && cfg.PortSecret.Previous != cfg.PortSecret.Current && now.Before(cfg.PortSecret.Until) {
		return cli.Misuse(cli.WithHint(fmt.Errorf("the last roll still goes on: the ports of the secret before stay open until %s", cfg.PortSecret.Until.UTC().Format(time.RFC3339)), "wait until then, or remove the port_secret_previous keys from "+cfg.Path))
	}
	text, info, err := readWhole(cfg.Path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	previousPath := cfg.PortSecret.Path + ".previous"
	edited, err := setKeys(string(text), "port_secret_file", [][2]string{
		{"port_secret_previous", ""},
		{"port_secret_previous_file", fmt.Sprintf("%q", relative(filepath.Dir(cfg.Path), previousPath))},
		{"port_secret_previous_until", until.Format(time.RFC3339)},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Path, err)
	}
	if _, err := config.Parse(cfg.Path, []byte(edited)); err != nil {
		return fmt.Errorf("the change would make the configuration unreadable: %w", err)
	}
	if err := durable.WriteFileLike(previousPath, cfg.PortSecret.Path, []byte(cfg.PortSecret.Current+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the old port secret: %w", err)
	}
	// The links of config management stay: what they lead to is replaced.
	if err := durable.WriteFile(cfg.Path, []byte(edited), info.Mode().Perm()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := durable.WriteFile(cfg.PortSecret.Path, []byte(secrets.Random()+"\n"), 0o600); err != nil {
		return cli.WithHint(fmt.Errorf("write the new port secret: %w", err), "nothing has changed yet for the clients; the same command tries again")
	}
	return nil
}

// readWhole reads a file, and tells its mode.
func readWhole(path string) (text []byte, info fs.FileInfo, err error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err == nil {
		text, err = io.ReadAll(f)
	}
	return text, info, err
}

// setKeys sets keys of the outermost table in a TOML text, each on a line: in
// place of the line that has it, or after the line of another key. A key with
// no value is removed. Comments and all else stay.
func setKeys(text, after string, keys [][2]string) (string, error) {
	lines := strings.Split(text, "\n")
	at := func(key string) int {
		for i, l := range lines {
			if strings.HasPrefix(strings.TrimSpace(l), "[") {
				return -1
			}
			if name, _, ok := strings.Cut(l, "="); ok && strings.TrimSpace(name) == key {
				return i
			}
		}
		return -1
	}
	for _, k := range keys {
		line := k[0] + " = " + k[1]
		switch i := at(k[0]); {
		case k[1] == "" && i >= 0:
			lines = slices.Delete(lines, i, i+1)
			continue
		case k[1] == "":
			continue
		case i >= 0:
			lines[i] = line
			continue
		}
		i := at(after)
		if i < 0 {
			return "", errors.New("expected the line of " + after)
		}
		lines = slices.Insert(lines, i+1, line)
		after = k[0]
	}
	return strings.Join(lines, "\n"), nil
}

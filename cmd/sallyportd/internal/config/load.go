package config

import (
	"fmt"
	"os"
	"path/filepath"

	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/durable"
)

// Need is how much of what a configuration refers to has to be read.
type Need int

// What Load reads beside the configuration itself.
const (
	Alone       Need = iota // nothing
	PortSecrets             // the secrets of ports
	Secrets                 // and of operations
	All                     // and whether the directories to serve are there: to serve, and to check
)

// Load reads a configuration, and of the files that it names those that are
// needed, and only those.
func Load(path string, need Need) (*Config, error) {
	text, err := durable.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	r, c, err := parse(path, text)
	if err != nil || need == Alone {
		return c, err
	}
	if c.PortSecret.Current, err = readSecret(path, r.PortSecret, r.PortSecretFile); err != nil {
		return nil, fmt.Errorf("read the port secret: %w", err)
	}
	if r.PortSecretPrevious != "" || r.PortSecretPreviousFile != "" {
		if c.PortSecret.Previous, err = readSecret(path, r.PortSecretPrevious, r.PortSecretPreviousFile); err != nil {
			return nil, fmt.Errorf("read the previous port secret: %w", err)
		}
	}
	for i, o := range r.Operation {
		if need < Secrets {
			break
		}
		if c.Operations[i].Secret, err = readSecret(path, o.Secret, o.SecretFile); err != nil {
			return nil, fmt.Errorf("read the secret of operation %q: %w", o.ID, err)
		}
	}
	for i := range c.Services {
		if need < All {
			break
		}
		if key, found := c.Services[i].kind.missing(); key != "" {
			return nil, c.file.Errorf(fmt.Sprintf("service.%d.%s", i, key), "%s", found)
		}
	}
	return c, nil
}

// readSecret returns a secret that stands in the configuration, which then
// nobody else may read, or in a file of its own.
func readSecret(configPath, inline, file string) (string, error) {
	if inline == "" {
		return secretfile.ReadOne(resolve(filepath.Dir(configPath), file))
	}
	info, err := os.Stat(configPath)
	if err != nil {
		return "", err
	}
	return inline, secretfile.Check(configPath, info)
}

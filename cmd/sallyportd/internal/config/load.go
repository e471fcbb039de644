package config

import (
	"fmt"
	"os"
	"path/filepath"

	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/durable"
)

// Need is which files Load reads in addition to the configuration itself.
type Need int

// The values of Need. Each includes those before it.
const (
	Alone       Need = iota // no other file
	PortSecrets             // the files of port secrets
	Secrets                 // the files of operations' secrets
	All                     // check that the directories of web servers exist
)

// Load reads a configuration, and of the files that it names only those that need
// requires.
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
		c.PortSecret.Previous, err = readSecret(path, r.PortSecretPrevious, r.PortSecretPreviousFile)
		if err != nil {
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

// readSecret returns the secret in the configuration itself (inline), or in another
// file. Only the owner may read the file that contains the secret.
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

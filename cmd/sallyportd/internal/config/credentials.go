package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sallyport/cmd/internal/hint"
)

// credentials is the variable in which systemd names the directory with the
// credentials of a unit.
const credentials = "CREDENTIALS_DIRECTORY"

// credentialName returns the name of the credential that a path names.
func credentialName(path string) (name string, ok bool) {
	return strings.CutPrefix(path, "$"+credentials+"/")
}

// secretPath returns the path of a file with a secret.
func (c *Config) secretPath(file string) (string, error) {
	path := resolveSecret(filepath.Dir(c.Path), file)
	return path, unsetFault(path)
}

// resolveSecret resolves the path of a file that can be a credential. It returns the path
// of a credential as it is if the environment does not name their directory: then nothing
// can read it, and unsetFault has the reason.
func resolveSecret(dir, path string) string {
	name, ok := credentialName(path)
	if !ok {
		return resolve(dir, path)
	}
	if at := os.Getenv(credentials); at != "" {
		return filepath.Join(at, name)
	}
	return path
}

// unsetFault returns an error if a path that was resolved is that of a credential still.
func unsetFault(path string) error {
	name, ok := credentialName(path)
	if !ok {
		return nil
	}
	return hint.With(fmt.Errorf("the environment does not set %s", credentials), unsetHint(name))
}

func unsetHint(name string) string {
	return "systemd sets it for a unit with LoadCredential=" + name + ":FILE; for a command, set it to the directory of that FILE"
}

// checkEtcdFiles returns an error if a file for etcd is a credential, and the environment
// does not name their directory.
func (c *Config) checkEtcdFiles() error {
	if c.Fleet == nil {
		return nil
	}
	e := c.Fleet.Etcd
	for _, f := range []struct{ key, path string }{{"ca", e.CA}, {"certificate", e.Certificate}, {"key", e.Key}} {
		if err := unsetFault(f.path); err != nil {
			return fmt.Errorf("%s: %w", c.file.Where("fleet."+f.key), err)
		}
	}
	return nil
}

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/textfile"
	"sallyport/sessions/client/profilefile"
	"sallyport/sessions/durable"
)

// Need is which files Load reads in addition to the configuration itself.
type Need int

// The values of Need. Each includes those before it.
const (
	Alone       Need = iota // no other file
	PortSecrets             // the files of port secrets
	Secrets                 // the files of operations' secrets and keys, and the host key
	All                     // check that the directories, certificates and keys of web servers can be used
)

// Load reads a configuration, and of the files that it names only those that need
// requires.
func Load(path string, need Need) (*Config, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	r, c, err := parse(path, text)
	if err != nil || need == Alone {
		return c, err
	}
	c.PortSecret.Current, err = c.readSecret("port_secret_file", "the port secret", r.PortSecret, r.PortSecretFile)
	if err != nil {
		return nil, err
	}
	if r.PortSecretFile != "" {
		c.PortSecret.Path, _ = c.secretPath(r.PortSecretFile)
		_, c.PortSecret.Credential = credentialName(r.PortSecretFile)
	}
	if r.PortSecretPrevious != "" || r.PortSecretPreviousFile != "" {
		c.PortSecret.Previous, err = c.readSecret(
			"port_secret_previous_file", "the previous port secret", r.PortSecretPrevious, r.PortSecretPreviousFile)
		if err != nil {
			return nil, err
		}
	}
	for i, o := range r.Operation {
		if need < Secrets {
			break
		}
		if c.Operations[i].Signed {
			if o.KeysFile == "" {
				continue
			}
			key := fmt.Sprintf("operation.%d.keys_file", i)
			if c.Operations[i].Keys, err = c.readPublicKeys(key, o.ID, o.KeysFile); err != nil {
				return nil, err
			}
			continue
		}
		key, what := fmt.Sprintf("operation.%d.secret_file", i), fmt.Sprintf("the secret of operation %q", o.ID)
		if c.Operations[i].Secret, err = c.readSecret(key, what, o.Secret, o.SecretFile); err != nil {
			return nil, err
		}
	}
	if need >= Secrets {
		if err := c.checkEtcdFiles(); err != nil {
			return nil, err
		}
		if err := c.ReadEtcdPassword(); err != nil {
			return nil, err
		}
		if err := c.readRelay(); err != nil {
			return nil, err
		}
		if err := c.ReadClientsKey(); err != nil {
			return nil, err
		}
	}
	if need >= Secrets && c.Challenge != nil && c.Challenge.hostKeyFile != "" {
		if err := c.readHostKey(); err != nil {
			return nil, err
		}
		if err := c.fitOperations(c.file); err != nil { // the types of the keys are known now
			return nil, err
		}
	}
	if need < All {
		return c, nil
	}
	for i := range c.Services {
		if f := c.Services[i].kind.missing(); f.key != "" {
			return nil, c.fileFault(fmt.Sprintf("service.%d.", i), f)
		}
	}
	for i := range c.HTTP() {
		if f := c.Challenge.HTTP[i].missing(); f.key != "" {
			return nil, c.fileFault(httpKey(i)+".", f)
		}
	}
	return c, nil
}

// fileFault is the error of a fault in a table.
func (c *Config) fileFault(at string, f fault) error {
	err := c.file.Errorf(at+f.key, "%s", f.found)
	if f.hint == "" {
		return err
	}
	return hint.With(err, f.hint)
}

// read returns the text of a configuration.
func read(path string) ([]byte, error) {
	text, err := durable.ReadFile(path)
	if err == nil {
		return textfile.Decode(path, text)
	}
	cause := err
	err = fmt.Errorf("read the configuration: %w", err)
	switch {
	case errors.Is(cause, fs.ErrNotExist):
		err = hint.With(err, "make one: sallyportd init DIR; or name it with -c FILE or SALLYPORTD_CONFIG")
	case errors.Is(cause, syscall.EISDIR) && filepath.Ext(path) == ".toml":
		err = hint.With(err, "engines of containers make an empty directory if the file to mount does not exist on the host")
	case errors.Is(cause, syscall.EISDIR):
		err = hint.With(err, "name the file in it: -c "+filepath.Join(path, "sallyportd.toml"))
	case errors.Is(cause, fs.ErrPermission):
		err = hint.With(err, "let the user of this process read the file, or run the command as the owner of the file")
	}
	return nil, err
}

// readSecret returns a secret (what) in the configuration itself (inline), or in
// another file, which a key names. Only the users of SecretFiles may read the file
// that contains the secret.
func (c *Config) readSecret(key, what, inline, file string) (string, error) {
	if inline != "" {
		f, err := c.SecretFiles.Open(c.Path)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", what, err)
		}
		f.Close()
		if fault := profilefile.SecretFault(inline); fault != "" {
			return "", c.file.Errorf(strings.TrimSuffix(key, "_file"), "got %s", fault)
		}
		return inline, nil
	}
	path, err := c.secretPath(file)
	if err != nil {
		return "", fmt.Errorf("%s: read %s: %w", c.file.Where(key), what, err)
	}
	secret, err := c.SecretFiles.ReadOne(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = hint.With(err, "restore the file, whose secret the profiles contain, or correct the path in the configuration")
	}
	if err != nil {
		return "", fmt.Errorf("%s: read %s: %w", c.file.Where(key), what, err)
	}
	return secret, nil
}

// ExplainClients adds the key that names the clients file to the error that the file
// does not exist.
func (c *Config) ExplainClients(err error) error {
	if c.file == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.FleetClients {
		return hint.With(err, "a server that reads the list of clients from etcd writes this copy: start it, or see its log")
	}
	return hint.With(fmt.Errorf("%s: %w", c.file.Where("clients"), err),
		"restore the file, or correct the path in the configuration; for a server that has no clients yet: install -m 600 /dev/null "+c.ClientsPath)
}

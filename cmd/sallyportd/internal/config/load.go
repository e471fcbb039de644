package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	All                     // check that the directories of web servers exist
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
		c.PortSecret.Credential = strings.HasPrefix(r.PortSecretFile, "$"+credentials+"/")
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
	if need >= Secrets && c.Challenge != nil && c.Challenge.hostKeyFile != "" {
		if err := c.readHostKey(); err != nil {
			return nil, err
		}
		if err := c.fitOperations(c.file); err != nil { // the types of the keys are known now
			return nil, err
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
	for i := range c.HTTP() {
		if need < All {
			break
		}
		h := c.Challenge.HTTP[i]
		if key, found := (web{root: h.root, cert: h.cert, key: h.key}).missing(); key != "" {
			return nil, c.file.Errorf(httpKey(i)+"."+key, "%s", found)
		}
	}
	return c, nil
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

// credentials is the variable in which systemd names the directory with the
// credentials of a unit.
const credentials = "CREDENTIALS_DIRECTORY"

// secretPath returns the path of a file with a secret.
func (c *Config) secretPath(file string) (string, error) {
	name, ok := strings.CutPrefix(file, "$"+credentials+"/")
	if !ok {
		return resolve(filepath.Dir(c.Path), file), nil
	}
	dir := os.Getenv(credentials)
	if dir == "" {
		return "", hint.With(fmt.Errorf("the environment does not set %s", credentials),
			"systemd sets it for a unit with LoadCredential="+name+":FILE; for a command, set it to the directory of that FILE")
	}
	return filepath.Join(dir, name), nil
}

// ExplainClients adds the key that names the clients file to the error that the file
// does not exist.
func (c *Config) ExplainClients(err error) error {
	if c.file == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return hint.With(fmt.Errorf("%s: %w", c.file.Where("clients"), err),
		"restore the file, or correct the path in the configuration; for a server that has no clients yet: install -m 600 /dev/null "+c.ClientsPath)
}

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/fleet/roster"
)

const (
	// clientsFleet is the value of the key clients with which the clients are those of a
	// list in etcd. A file with this name is "./fleet".
	clientsFleet = "fleet"
	// ClientsCopyName is the name of this gateway's copy of that list, in the state
	// directory.
	ClientsCopyName = "fleet-clients.txt"

	clientsKeyName = "clients_key" // also in the default
	maxClientsKey  = 4 << 10
)

// useCopy sets which list of clients the configuration names. The state directory is
// known.
func (c *Config) useCopy(clients string) {
	if clients == clientsFleet {
		c.FleetClients, c.ClientsPath = true, filepath.Join(c.StateDir, ClientsCopyName)
	}
}

// fleetClients checks the keys of a list of clients in etcd. Those of [fleet] are known.
func (r *raw) fleetClients(f *tomlfile.File, c *Config) error {
	file := r.Fleet.ClientsKeyFile
	switch {
	case c.FleetClients && c.Fleet == nil:
		return hint.With(f.Errorf("clients", "got \"fleet\" without [fleet]"), "add a [fleet] table; the path of a file with that name is \"./fleet\"")
	case c.FleetClients && file == "":
		return f.Errorf("fleet.clients_key_file", "got nothing")
	case !c.FleetClients && file != clientsKeyName:
		return f.Errorf("fleet.clients_key_file", "got it with a clients file, %q", r.Clients)
	case c.FleetClients:
		c.Fleet.clientsKeyFile, c.Fleet.ClientsKeyPath = file, resolve(filepath.Dir(c.Path), file)
	}
	return nil
}

// ClientsPlace names, for people, where the clients are.
func (c *Config) ClientsPlace() string {
	if c.FleetClients {
		return "the fleet's list"
	}
	return c.ClientsPath
}

// ReadClientsKey reads the key of the list of clients in etcd, if the configuration has one.
// It sets ClientsKeyPath also if the file cannot be read.
func (c *Config) ReadClientsKey() error {
	if !c.FleetClients {
		return nil
	}
	path, err := c.secretPath(c.Fleet.clientsKeyFile)
	if err == nil {
		c.Fleet.ClientsKeyPath = path
		c.Fleet.ClientsKey, err = c.openClientsKey(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = hint.With(err, "copy the file from a gateway that has the list, with mode 0600; for a new list: sallyportd fleet-key new")
	}
	if err != nil {
		return fmt.Errorf("%s: read the key of the list of clients: %w", c.file.Where("fleet.clients_key_file"), err)
	}
	return nil
}

func (c *Config) openClientsKey(path string) (k roster.Key, err error) {
	f, err := c.SecretFiles.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxClientsKey))
	if err != nil {
		return k, err
	}
	if k, err = roster.ParseKey(text); err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

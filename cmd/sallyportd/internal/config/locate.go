package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Locate finds the paths of the clients file, the state directory and the admin
// socket in a configuration with errors. Each must be on a separate line before
// the first table. Only these paths, Path and FleetClients of the result are set. Commands that
// must work despite an invalid configuration use it.
func Locate(path string) (*Config, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	var paths struct {
		Clients     string `toml:"clients"`
		StateDir    string `toml:"state_dir"`
		AdminSocket string `toml:"admin_socket"`
	}
	paths.StateDir, paths.AdminSocket = "state", "sallyportd.sock"
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "[") {
			break
		}
		withLine := paths
		if toml.Unmarshal([]byte(line), &withLine) == nil {
			paths = withLine
		}
	}
	if paths.Clients == "" {
		return nil, fmt.Errorf("%s: expected a line clients = \"PATH\" before the first table, found none", path)
	}
	dir := filepath.Dir(path)
	c := &Config{
		Path: path, ClientsPath: resolve(dir, paths.Clients),
		StateDir: resolve(dir, paths.StateDir), AdminSocket: resolve(dir, paths.AdminSocket),
	}
	c.useCopy(paths.Clients)
	return c, nil
}

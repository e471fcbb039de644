package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sallyport/sessions/durable"
)

// Locate finds the clients file, the state directory and the admin socket in a
// configuration that cannot be read otherwise: each in a line of its own, before
// the first table. Of the result only their paths and Path count. What has to
// be done whatever is wrong with the rest can be done with them.
func Locate(path string) (*Config, error) {
	text, err := durable.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
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
		one := paths
		if toml.Unmarshal([]byte(line), &one) == nil {
			paths = one
		}
	}
	if paths.Clients == "" {
		return nil, fmt.Errorf("%s: no line says where the clients file is", path)
	}
	dir := filepath.Dir(path)
	return &Config{
		Path: path, ClientsPath: resolve(dir, paths.Clients), StateDir: resolve(dir, paths.StateDir), AdminSocket: resolve(dir, paths.AdminSocket),
	}, nil
}

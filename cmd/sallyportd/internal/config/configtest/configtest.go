// Package configtest makes configurations for tests, with config.Parse.
package configtest

import (
	"path/filepath"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
)

// PortSecret is the port secret of the configurations that Parse makes.
const PortSecret = "the port secret"

// Web is a web server on the loopback.
const Web = `
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
`

// Parse makes a configuration with three knocks, whose files are in dir. keys is
// the rest of its text, with its services.
func Parse(t testing.TB, dir, keys string) *config.Config {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(dir, config.FileName), []byte(Text(keys)))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Text returns the text that Parse parses.
func Text(keys string) string {
	return "ports = 3\nport_secret = \"" + PortSecret + "\"\nclients = \"" + config.ClientsName + "\"\n" + keys
}

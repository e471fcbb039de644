// Package configtest makes configurations for tests, by the constructor that the
// commands use.
package configtest

import (
	"path/filepath"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
)

// PortSecret is that of the configurations that Parse makes.
const PortSecret = "the port secret"

// Web is a web server for the loopback.
const Web = `
[[service]]
name = "web"
type = "web"
listen = "127.0.0.1:8080"
`

// Parse makes a configuration of three knocks whose files are in dir. Keys is
// what it has besides, its services included.
func Parse(t testing.TB, dir, keys string) *config.Config {
	t.Helper()
	cfg, err := config.Parse(filepath.Join(dir, config.FileName), []byte(Text(keys)))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Text is what Parse parses.
func Text(keys string) string {
	return "ports = 3\nport_secret = \"" + PortSecret + "\"\nclients = \"" + config.ClientsName + "\"\n" + keys
}

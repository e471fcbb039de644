package config

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLocate: Locate finds the paths in a configuration with other errors.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	for text, want := range map[string][3]string{
		"clients = \"c.txt\"\n": {dir + "/c.txt", dir + "/state", dir + "/sallyportd.sock"},
		"ports = nine\nlisten = [\nclients = 'c.txt' # here\nadmin_socket = \"/run/s\"\nstate_dir = \"s\"\n[[service]\nclients = \"no\"\n": {dir + "/c.txt", dir + "/s", "/run/s"},
		"clients = 7\n":                                     {},
		"[x]\nclients = \"c.txt\"\n":                        {},
		"clients = \"/c\"\nadmin_socket = \"s\nunknown = 1": {"/c", dir + "/state", dir + "/sallyportd.sock"},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Locate(path)
		if err != nil {
			c = new(Config)
		}
		if got := [3]string{c.ClientsPath, c.StateDir, c.AdminSocket}; got != want || (err != nil) != (want[0] == "") {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	if _, err := Locate(path + ".none"); err == nil {
		t.Error("a missing file is no error")
	}
}

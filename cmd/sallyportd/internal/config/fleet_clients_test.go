package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/sessions/fleet/roster"
)

// TestFleetClients: clients = "fleet" names the copy in the state directory, and requires
// the key; a reload reads the key again, and refuses another list.
func TestFleetClients(t *testing.T) {
	listed := strings.Replace(minimal, `"clients.txt"`, `"fleet"`, 1)
	listed = strings.Replace(listed, "[[service]]", "state_dir = \"here\"\n[[service]]", 1)
	dir := files(t, map[string]string{"c.toml": listed + fleetText, "password": "swordfish\n"})
	path := filepath.Join(dir, "c.toml")
	if _, err := Load(path, PortSecrets); err != nil {
		t.Errorf("without the key: %v", err)
	}
	_, err := Load(path, Secrets)
	if err == nil || !strings.Contains(err.Error(), "fleet.clients_key_file: read the key of the list of clients") {
		t.Errorf("without the key: %v", err)
	}
	key := filepath.Join(dir, "clients_key")
	if err := roster.NewKeyFile(key); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, Secrets)
	if err != nil {
		t.Fatal(err)
	}
	want, err := roster.ReadKey(key)
	if err != nil || !c.FleetClients || c.ClientsPath != filepath.Join(dir, "here", ClientsCopyName) || c.Fleet.ClientsKeyPath != key ||
		!slices.Equal(c.Fleet.ClientsKey.IDs(), want.IDs()) {
		t.Errorf("got %s, %s, %v; %v", c.ClientsPath, c.Fleet.ClientsKeyPath, c.Fleet.ClientsKey.IDs(), err)
	}
	located, err := Locate(path)
	if err != nil || !located.FleetClients || located.ClientsPath != c.ClientsPath {
		t.Errorf("located %+v, %v", located, err)
	}
	if err := roster.RotateKeyFile(key); err != nil {
		t.Fatal(err)
	}
	next, err := Load(path, Secrets)
	if err != nil || c.Changed(next, false) != nil || len(next.Fleet.ClientsKey.IDs()) != 2 {
		t.Errorf("a new key: %v, %v", err, c.Changed(next, false))
	}
	file := must(Parse(path, []byte(strings.Replace(listed, `"fleet"`, `"./fleet"`, 1)+fleetText)))
	file.Fleet.Etcd.Password = c.Fleet.Etcd.Password
	if file.FleetClients || file.ClientsPath != filepath.Join(dir, "fleet") {
		t.Errorf("a file with that name: %+v", file)
	}
	err = c.Changed(file, false)
	if err == nil || !strings.Contains(err.Error(), "clients has changed, which requires a restart") {
		t.Errorf("another list: %v", err)
	}
	if err := os.WriteFile(key, []byte("sallyport-clients-key-hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Load(path, Secrets)
	if err == nil || !strings.Contains(err.Error(), "expected one or two lines") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a damaged key: %v", err)
	}
	for text, want := range map[string]string{
		listed: "clients: expected the path of the clients file, or \"fleet\", got \"fleet\" without [fleet]",
		minimal + fleetText + "clients_key_file = \"other\"\n": "got it with a clients file, \"clients.txt\"",
		listed + fleetText + "clients_key_file = \"\"\n":       "fleet.clients_key_file: expected the path of a file with the key of the list of clients",
		"clients_settle = \"no\"\n" + listed + fleetText:       "clients_settle",
		strings.Replace(listed, "here", "", 1) + fleetText:     "state_dir",
	} {
		if _, err := Parse("c.toml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c = must(Parse("c.toml", []byte(minimal+fleetText+"clients_key_file = \"clients_key\"\n")))
	if c.FleetClients || c.Fleet.ClientsKeyPath != "" {
		t.Errorf("a clients file in a fleet: %+v", c.Fleet)
	}
}

package config_test

import (
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestGrantedHandshake: the first service of a configuration, on a host with and without
// socket filters. TestHandshakeGranted of cmd/sallyport has the same with real sockets.
func TestGrantedHandshake(t *testing.T) {
	service := func(keys string) string { return "[[service]]\nname = \"s\"\n" + keys + "\n" }
	const ssh = "[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":22\"\n"
	able := config.Host{FilterTCP: true, FilterEntries: 80}
	for _, row := range []struct {
		keys               string
		leases             int
		withFilter, unable bool // is granted on such a host
	}{
		{service("type = \"firewall\"\nlisten = \":2222\""), 1e6, true, true},
		{service("type = \"firewall\"\nlisten = \":2222\"\npolicy = \"reject\""), 1, true, true},
		{service("type = \"firewall\"\nlisten = \":2222\"\nhook = \"forward\""), 1, true, true},
		{service("type = \"firewall\"\nlisten = \":2222\"\nbind = \"isn\""), 1, true, true},
		{service("type = \"firewall\"\nlisten = \":2222\"\nprotocol = \"udp\""), 1, false, false},
		{service("type = \"firewall\"\nlisten = \":2222\"\nopen_to = \"anyone\""), 1, false, false},
		{service("type = \"firewall\"\nlisten = \":2222\"\nport = \"rotate\""), 1, false, false},
		{service("type = \"web\"\nlisten = \":8080\""), 80, true, false},
		{service("type = \"web\"\nlisten = \":8080\""), 81, false, false},
		{service("type = \"web\"\nlisten = \":8080\"\nopen_to = \"anyone\""), 1, false, false},
		{service("type = \"web\"\nlisten = \":0\"\nport = \"rotate\""), 1, false, false},
		{service("type = \"web\"\nlisten = \":8080\"\nlook = \"filtered\""), 80, true, true},
		{service("type = \"web\"\nlisten = \":8080\"\nlook = \"filtered\""), 81, false, true},
		{service("type = \"web\"\nlisten = \":8080\"") + ssh, 1e6, true, true},
		{"stealth = true\n" + service("type = \"web\"\nlisten = \":8080\""), 1e6, true, true},
		{service("type = \"proxy\"\nlisten = \":8080\"\nupstream = \"127.0.0.1:80\""), 80, true, false},
		{service("type = \"proxy\"\nlisten = \":8080\"\nupstream = \"127.0.0.1:80\"\nprotocol = \"udp\""), 1, false, false},
		{service("type = \"process\"\nlisten = \":8080\"\nupstream = \"inherit\"\nprogram = [\"/bin/x\"]\nprogram_user = \"x\""), 80, true, false},
		{service("type = \"command\"\non_open = [\"/bin/x\"]\ncommand_user = \"x\"") + ssh, 1, false, false},
	} {
		cfg, err := config.Parse("c.toml", []byte(configtest.Text(row.keys)))
		if err != nil {
			t.Errorf("%s: %v", row.keys, err)
			continue
		}
		with, without := cfg.GrantedHandshake(&cfg.Services[0], able, row.leases), cfg.GrantedHandshake(&cfg.Services[0], config.Host{}, row.leases)
		if with != row.withFilter || without != row.unable {
			t.Errorf("%s, with %d leases: granted with socket filters: %t, without: %t", row.keys, row.leases, with, without)
		}
	}
}

// TestProfilesPromiseTooMuch: a reload names the keys whose change makes what profiles
// promise of a service wrong.
func TestProfilesPromiseTooMuch(t *testing.T) {
	text := func(service, operation string) *config.Config {
		return configtest.Parse(t, "", "[[service]]\nname = \"web\"\ntype = \"web\"\nlisten = \":8080\"\nopen_max = \"1h\"\n"+service+
			"\n[challenge]\n[[operation]]\nid = \"web-alice\"\nsecret = \"s\"\nservice = \"web\"\n"+operation)
	}
	before := text(`open_for = "30s"`, `open_for = "30s"`)
	for _, row := range []struct{ service, operation, want string }{
		{`open_for = "30s"`, `open_for = "30s"`, ""},
		{`open_for = "31s"`, `open_for = "31s"`, ""},
		{`open_for = "30s"`, `open_for = "until-closed"`, ""},
		{`open_for = "30s"`, ``, ""},
		{`open_for = "29s"`, `open_for = "30s"`, "open_for of service web"},
		{`open_for = "30s"`, `open_for = "29s"`, "operation web-alice"},
		{"open_for = \"30s\"\nopen_to = \"anyone\"", `open_for = "30s"`, "open_to of service web"},
	} {
		got := ""
		for _, key := range before.ProfileChanges(text(row.service, row.operation)) {
			got += key
		}
		if got != row.want {
			t.Errorf("%s, and the operation with %s: %q", row.service, row.operation, got)
		}
	}
}

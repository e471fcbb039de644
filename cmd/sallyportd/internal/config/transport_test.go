package config_test

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/gate/access"
	"sallyport/sessions/gate/firewall"
)

const overTCP = configtest.Web + `[challenge]
transport = "tcp"
`

const anOperation = `[[operation]]
id = "web-alice"
secret = "a secret"
service = "web"
`

// TestTransportTCP: the port of challenges is one of the firewall, and no service's.
func TestTransportTCP(t *testing.T) {
	cfg := configtest.Parse(t, "", overTCP+anOperation)
	a := cfg.Challenge.Answers
	if a == nil || *a != (config.Answers{Port: 30720}) || cfg.Challenge.Rate != config.MaxAnswerRate {
		t.Fatalf("%+v", cfg.Challenge)
	}
	if s := cfg.Captured(); s == nil || !s.TCP || s.First != 16384 || s.Last != 30719 {
		t.Errorf("captured: %+v", s)
	}
	f, p := cfg.Firewall(), cfg.Policy()
	last := f.Ports[len(f.Ports)-1]
	if last.Port != 30720 || last.Protocol != firewall.TCP || !last.Reject || last.Service != access.ID(config.AnswersName) || f.Captured != [2]uint16{} {
		t.Errorf("the firewall: %+v", f)
	}
	if s := p.Services[len(p.Services)-1]; s.ID != last.Service || s.Anyone || s.OpenMax != config.AnswerTime {
		t.Errorf("the holder: %+v", p)
	}
	if err := f.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.Service(config.AnswersName) != nil || len(cfg.Services) != 1 {
		t.Error("it is a service")
	}
	filtered := configtest.Parse(t, "", overTCP+"answer_look = \"filtered\"\nanswer_port = 443\n"+anOperation)
	ports := filtered.Firewall().Ports
	if last := ports[len(ports)-1]; last.Reject || last.Port != 443 {
		t.Errorf("filtered: %+v", last)
	}
	if !filtered.Needs(config.Host{FirstOpenPort: 1024}).LowPorts || cfg.Needs(config.Host{FirstOpenPort: 1024}).LowPorts {
		t.Error("the capability for ports below 1024")
	}
	// Nothing but a filter of the kernel, or the firewall, hides the port.
	why := cfg.NeedsFirewall(config.Host{})
	if !strings.Contains(why, `transport = "tcp"`) || cfg.WithoutFirewall(config.Host{}) != "" {
		t.Errorf("without filters for TCP sockets: %q", why)
	}
	if why := cfg.NeedsFirewall(config.Host{FilterTCP: true}); why != "" {
		t.Errorf("with filters for TCP sockets: %q", why)
	}
	udp := configtest.Parse(t, "", strings.Replace(overTCP, "tcp", "udp", 1)+anOperation)
	if udp.Challenge.Answers != nil || udp.NeedsFirewall(config.Host{}) != "" || udp.Captured().TCP || udp.Challenge.Rate != 20000 {
		t.Errorf("udp: %+v", udp.Challenge)
	}
	err := udp.Changed(cfg, true)
	if err == nil || !strings.Contains(err.Error(), "challenge.transport has changed, which requires a restart") {
		t.Errorf("a reload: %v", err)
	}
	if keys := udp.ProfileChanges(cfg); len(keys) != 1 || keys[0] != "challenge" {
		t.Errorf("the profiles' keys: %v", keys)
	}
}

func TestTransportRefuses(t *testing.T) {
	service := "[[service]]\nname = \"two\"\ntype = \"firewall\"\nlisten = \":30720\"\n"
	for keys, want := range map[string]string{
		overTCP + "capture = \"sockets\"\nports = \"300-999\"\n":                          `c.toml:10: challenge.transport: expected "udp" or "tcp", got "tcp" with capture = "sockets"`,
		overTCP + "answer_port = 20000\n":                                                 `got 20000, which is one of the ports 16384-30719 of requests and responses`,
		overTCP + "answer_port = 8080\n":                                                  `got 8080, which is a port of service web`,
		overTCP + "answer_port = 0\n":                                                     `challenge.answer_port: expected a TCP port`,
		overTCP + "answer_look = \"open\"\n":                                              `challenge.answer_look: expected "filtered" or "closed"`,
		overTCP + "challenges_per_second = 161\n":                                         `got 161; with transport = "tcp" at most 160 are possible`,
		strings.Replace(overTCP, "tcp", "sctp", 1):                                        `challenge.transport: expected "udp" or "tcp", got "sctp"`,
		service + overTCP:                                                                 `got 30720, which is a port of service two`,
		strings.Replace(service, "30720", "20000", 1) + overTCP:                           `which contains TCP port 20000 of service two`,
		strings.Replace(service, ":30720\"", ":30720\"\nprotocol = \"udp\"", 1) + overTCP: "",
		strings.Replace(service, ":30720\"", ":20000\"\nprotocol = \"udp\"", 1) + overTCP: "",
		strings.Replace(overTCP, "tcp", "udp", 1) + "answer_port = 443\n":                 `challenge.answer_port: expected a TCP port, from 1 to 65535, that is neither one of ports nor a service's, got 443 without transport = "tcp"`,
		strings.Replace(overTCP, "tcp", "udp", 1) + "answer_look = \"filtered\"\n":        `got "filtered" without transport = "tcp"`,
		overTCP + "challenges_per_second = 160\n":                                         "",
	} {
		_, err := config.Parse("c.toml", []byte(configtest.Text(keys+anOperation)))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", keys, err, want)
		}
	}
}

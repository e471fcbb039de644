package config

import (
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate/firewall"
)

// commandsOnly is a service that has no port: its leases run commands, and admit no
// packet.
type commandsOnly struct{}

func readCommand(r *rawService, f *tomlfile.File, at, _ string, s *Service) (kind, error) {
	if len(s.programs) == 0 {
		return nil, f.Errorf(at+"on_open", "got nothing, and no on_close either")
	}
	return commandsOnly{}, nil
}

func (commandsOnly) describe(*Service) string { return "commands" }

func (commandsOnly) binds() bool { return false }

func (commandsOnly) published() bool { return false }

func (commandsOnly) trusted() firewall.Trusted { return firewall.Trusted{} }

func (commandsOnly) upstream() string { return "" }

func (commandsOnly) firewall(*Service, Host) string { return "" }

func (commandsOnly) guard(*Service, bool, *firewall.Port) {}

func (commandsOnly) advice(*Service, *Config, Host) string { return "" }

func (commandsOnly) missing() fault { return fault{} }

func (commandsOnly) fixed() (key, value string) { return "", "" }

// live returns a service without enforcers: its commands are those of the gate.
func (commandsOnly) live(*Service, Env) (Live, error) {
	return Live{Load: func(*Service) (func(), error) { return func() {}, nil }}, nil
}

package config

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/durations"
	"sallyport/sessions/gate/access"
	"sallyport/verify/schedule"
)

// version is the version of the file format, and the default of the key.
const version = 1

// newerHint is what to do with a file of a later version.
const newerHint = "install the release that the file was written for; or set version = 1, and remove the keys that \"sallyportd check\" then names as unknown"

// Names of the files that "sallyportd init" creates.
const (
	FileName       = "sallyportd.toml"
	PortSecretName = "port_secret"
	ClientsName    = "clients.txt"
)

// Parse checks the text of a configuration. It reads no file, makes no system call,
// and does not probe the kernel; of the environment it reads only the directory of
// credentials. The Config contains only the secrets that are in the text itself. Relative paths are resolved against the directory of path.
// Errors name the file, the line, the key, and the expected value.
func Parse(path string, text []byte) (*Config, error) {
	_, c, err := parse(path, text)
	return c, err
}

func parse(path string, text []byte) (*raw, *Config, error) {
	if err := tomlfile.CheckVersion(path, text, version, "sallyportd", newerHint); err != nil {
		return nil, nil, err
	}
	r := new(raw)
	f, err := tomlfile.Decode(path, text, r)
	if err != nil {
		return nil, nil, err
	}
	if err := fill(f, r, "", ""); err != nil {
		return nil, nil, err
	}
	c := &Config{
		Path: path, Server: r.Server, Ports: r.Ports, Readers: r.Readers, ReceiveBuffer: r.ReceiveBuffer, Queue: r.Queue,
		KernelFilter: r.KernelFilter, SelfTest: r.SelfTest, ResumeLeases: r.ResumeLeases, Relaxed: r.Durability == "relaxed",
		User: r.User, Stealth: r.Stealth, ClearOnExit: r.OnExit == "clear",
		PortSecret:  PortSecret{Current: r.PortSecret, Previous: r.PortSecretPrevious, Until: r.PortSecretPreviousUntil},
		SecretFiles: secretfile.Rules{User: r.User, Shared: r.SecretFiles == "shared"},
		file:        f,
	}
	c.LogFormat = r.LogFormat
	if r.LogLevel == "debug" {
		c.LogLevel = slog.LevelDebug
	}
	for _, step := range []func(*tomlfile.File, *Config) error{
		r.general, r.shield, r.secrets, r.paths, r.services, r.challenge, r.rotations, r.fleet, r.fleetClients, r.relay, r.metrics,
	} {
		if err := step(f, c); err != nil {
			return nil, nil, err
		}
	}
	c.fixed, c.keys, c.opened = r.settings(), r.digests(), r.opened(path)
	for i := range c.Services {
		key, value := c.Services[i].kind.fixed()
		c.fixed = append(c.fixed, setting{key: key, value: value, service: c.Services[i].Name})
	}
	for i := range c.HTTP() {
		c.fixed = append(c.fixed, setting{key: "the use of TLS of [[challenge.http]]", value: fmt.Sprint(c.Challenge.HTTP[i].TLS())})
	}
	return r, c, nil
}

func (r *raw) general(f *tomlfile.File, c *Config) (err error) {
	for i, text := range r.Listen {
		a, fault := parseListenEntry(text)
		if fault != "" {
			return f.Errorf("listen", "got %q (entry %d)%s", text, i+1, fault)
		}
		if !a.IsValid() {
			c.listenNames = append(c.listenNames, text)
		}
		c.Listen = append(c.Listen, a)
	}
	if c.Generator, err = schedule.ParseGenerator(r.Generator); err != nil {
		return f.Errorf("generator", "got %q", r.Generator)
	}
	if c.Tolerance = duration(r.ClockTolerance); c.Tolerance%time.Second != 0 {
		return f.Errorf("clock_tolerance", "got %q", r.ClockTolerance)
	}
	c.ClientsSettle = duration(r.ClientsSettle)
	for _, port := range r.StealthExcept {
		c.StealthExcept = append(c.StealthExcept, uint16(port))
	}
	return nil
}

func (r *raw) secrets(f *tomlfile.File, _ *Config) error {
	switch {
	case r.PortSecret != "" && r.PortSecretFile != "":
		return f.Errorf("port_secret_file", "got port_secret as well; only one of the two is allowed")
	case r.PortSecret == "" && r.PortSecretFile == "":
		return f.Errorf("port_secret", "got neither")
	case r.PortSecretPrevious != "" && r.PortSecretPreviousFile != "":
		return f.Errorf("port_secret_previous_file", "got port_secret_previous as well; only one of the two is allowed")
	case (r.PortSecretPrevious != "" || r.PortSecretPreviousFile != "") == r.PortSecretPreviousUntil.IsZero():
		return f.Errorf("port_secret_previous_until", "got one without the other")
	}
	return nil
}

func (r *raw) paths(f *tomlfile.File, c *Config) error {
	dir := filepath.Dir(c.Path)
	for _, p := range []struct {
		key, text string
		path      *string
	}{
		{"clients", r.Clients, &c.ClientsPath}, {"state_dir", r.StateDir, &c.StateDir},
		{"admin_socket", r.AdminSocket, &c.AdminSocket}, {"firewall_socket", r.FirewallSocket, &c.FirewallSocket},
	} {
		if p.text == "" {
			return f.Errorf(p.key, "got nothing")
		}
		*p.path = resolve(dir, p.text)
	}
	c.useCopy(r.Clients)
	if r.PortSecretFile != "" {
		c.PortSecret.Path = resolve(dir, r.PortSecretFile)
	}
	return nil
}

func (r *raw) services(f *tomlfile.File, c *Config) error {
	if len(r.Service) == 0 || len(r.Service) > maxServices {
		return f.Errorf("service", "got %d", len(r.Service))
	}
	for i := range r.Service {
		s, err := r.Service[i].service(f, fmt.Sprintf("service.%d.", i), filepath.Dir(c.Path))
		if err != nil {
			return err
		}
		if err := r.elsewhere(f, fmt.Sprintf("service.%d.", i), r.Service[i].Gateways, &s); err != nil {
			return err
		}
		if err := s.conflicts(f, fmt.Sprintf("service.%d.", i), c.Services); err != nil {
			return err
		}
		if err := s.viaConflicts(f, fmt.Sprintf("service.%d.", i), c.Services); err != nil {
			return err
		}
		c.Services = append(c.Services, s)
	}
	ids := make([]access.ServiceID, len(c.Services))
	for i := range c.Services {
		ids[i] = c.Services[i].ID()
	}
	if err := access.Distinct(ids); err != nil {
		return f.Errorf("service", "%v", err)
	}
	if err := checkUpstreamSockets(f, c); err != nil {
		return err
	}
	if err := checkProcessPorts(f, c.Services); err != nil {
		return err
	}
	if err := r.checkProgramUsers(f); err != nil {
		return err
	}
	return checkLoops(f, c.Services)
}

// duration parses a text that was checked before.
func duration(text string) time.Duration {
	d, _ := durations.Parse(text)
	return d
}

// resolve resolves a path against dir. An empty path stays empty.
func resolve(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

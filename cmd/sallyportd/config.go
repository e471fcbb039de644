package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/verify/schedule"
)

// configVersion is that of the file's form. A file without a version has the
// first one.
const configVersion = 1

// file is the configuration as it is written. reference.toml explains it.
type file struct {
	Version        int           `toml:"version" expect:"1, the version of this form"`
	Listen         []string      `toml:"listen" expect:"a list of IP addresses in quotes, such as [\"0.0.0.0\", \"::\"]"`
	Ports          int           `toml:"ports" expect:"the number of knocks, a whole number from 1 to 128"`
	Generator      string        `toml:"generator" expect:"\"algorithm1\" or \"java\""`
	PortSecret     string        `toml:"port_secret" expect:"the secret from which the ports are drawn, as text in quotes; or port_secret_file instead"`
	PortSecretFile string        `toml:"port_secret_file" expect:"the path of a file with the port secret"`
	Clients        string        `toml:"clients" expect:"the path of the clients file"`
	ClockTolerance string        `toml:"clock_tolerance" expect:"a duration from \"5s\" to \"60s\" in whole seconds"`
	Readers        int           `toml:"readers" expect:"a whole number from 0 (one a processor) to 64"`
	Service        []fileService `toml:"service" expect:"one [[service]] table"`
}

type fileService struct {
	Name    string `toml:"name" expect:"a name in quotes"`
	Type    string `toml:"type" expect:"\"web\""`
	Listen  string `toml:"listen" expect:"host:port or :port, with an IP address for a host"`
	OpenFor string `toml:"open_for" expect:"a duration such as \"10s\", at least a second"`
	OpenMax string `toml:"open_max" expect:"a duration such as \"1m\", not shorter than open_for"`
	OpenTo  string `toml:"open_to" expect:"\"knocker\" or \"anyone\""`
	Root    string `toml:"root" expect:"the path of a directory"`
}

// config is what the server runs with: everything checked, nothing default.
type config struct {
	listen     []netip.Addr // empty: all
	ports      int
	generator  schedule.Generator
	portSecret string
	tolerance  time.Duration
	readers    int // 0: one a processor
	clients    []registered
	service    serviceConfig
}

type serviceConfig struct {
	name    string
	listen  string
	openFor time.Duration
	openMax time.Duration
	anyone  bool
	root    string // empty: the test pages
}

// loadConfig reads a configuration and all that it refers to.
func loadConfig(path string) (config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return config{}, fmt.Errorf("read the configuration: %w", err)
	}
	raw, f, err := parseConfig(path, data)
	if err != nil {
		return config{}, err
	}
	cfg, err := raw.validate(f)
	if err != nil {
		return config{}, err
	}
	dir := filepath.Dir(path)
	if raw.PortSecret != "" {
		info, err := os.Stat(path)
		if err == nil {
			err = secretfile.Check(path, info)
		}
		if err != nil {
			return config{}, err
		}
		cfg.portSecret = raw.PortSecret
	} else if cfg.portSecret, err = secretfile.ReadOne(within(dir, raw.PortSecretFile)); err != nil {
		return config{}, fmt.Errorf("read the port secret: %w", err)
	}
	if cfg.service.root != "" {
		cfg.service.root = within(dir, raw.Service[0].Root)
		if info, err := os.Stat(cfg.service.root); err != nil || !info.IsDir() {
			return config{}, f.Errorf("service.0.root", "got %q, which is none", cfg.service.root)
		}
	}
	cfg.clients, err = loadClients(within(dir, raw.Clients))
	return cfg, err
}

func parseConfig(path string, data []byte) (file, *tomlfile.File, error) {
	raw := file{Version: configVersion, Generator: schedule.Algorithm1.String()}
	f, err := tomlfile.Decode(path, data, &raw)
	return raw, f, err
}

// validate checks what the file says by itself.
func (raw file) validate(f *tomlfile.File) (cfg config, err error) {
	if raw.Version != configVersion {
		return cfg, f.Errorf("version", "got %d: was it written for a newer sallyportd?", raw.Version)
	}
	for i, text := range raw.Listen {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return cfg, f.Errorf("listen", "got %q in place %d", text, i+1)
		}
		cfg.listen = append(cfg.listen, a.Unmap())
	}
	if cfg.ports = raw.Ports; raw.Ports < 1 || raw.Ports > schedule.MaxPorts {
		return cfg, f.Errorf("ports", "got %s", given(f, "ports", raw.Ports))
	}
	if cfg.generator, err = schedule.ParseGenerator(raw.Generator); err != nil {
		return cfg, f.Errorf("generator", "got %q", raw.Generator)
	}
	switch {
	case raw.PortSecret != "" && raw.PortSecretFile != "":
		return cfg, f.Errorf("port_secret_file", "got port_secret as well: one of the two is enough")
	case raw.PortSecret == "" && raw.PortSecretFile == "":
		return cfg, f.Errorf("port_secret", "got neither")
	case raw.Clients == "":
		return cfg, f.Errorf("clients", "got nothing")
	}
	if cfg.tolerance, err = f.Duration("clock_tolerance", raw.ClockTolerance, time.Minute); err != nil {
		return cfg, err
	}
	if cfg.tolerance < 5*time.Second || cfg.tolerance > time.Minute || cfg.tolerance%time.Second != 0 {
		return cfg, f.Errorf("clock_tolerance", "got %q", raw.ClockTolerance)
	}
	if cfg.readers = raw.Readers; raw.Readers < 0 || raw.Readers > 64 {
		return cfg, f.Errorf("readers", "got %d", raw.Readers)
	}
	if len(raw.Service) != 1 {
		return cfg, f.Errorf("service", "got %d", len(raw.Service))
	}
	cfg.service, err = raw.Service[0].validate(f, "service.0.")
	return cfg, err
}

func (raw fileService) validate(f *tomlfile.File, at string) (s serviceConfig, err error) {
	if s.name = raw.Name; raw.Name == "" {
		return s, f.Errorf(at+"name", "got nothing")
	}
	if raw.Type != "web" {
		return s, f.Errorf(at+"type", "got %q", raw.Type)
	}
	host, _, err := client.SplitService(raw.Listen)
	if err == nil && host != "" {
		_, err = netip.ParseAddr(host)
	}
	if s.listen = raw.Listen; err != nil {
		return s, f.Errorf(at+"listen", "got %q", raw.Listen)
	}
	if s.openFor, err = f.Duration(at+"open_for", raw.OpenFor, 10*time.Second); err != nil {
		return s, err
	}
	if s.openFor < time.Second {
		return s, f.Errorf(at+"open_for", "got %q", raw.OpenFor)
	}
	if s.openMax, err = f.Duration(at+"open_max", raw.OpenMax, max(time.Minute, s.openFor)); err != nil {
		return s, err
	}
	if s.openMax < s.openFor {
		return s, f.Errorf(at+"open_max", "got %q", raw.OpenMax)
	}
	if f.Has(at+"open_to") && raw.OpenTo != "knocker" && raw.OpenTo != "anyone" {
		return s, f.Errorf(at+"open_to", "got %q", raw.OpenTo)
	}
	s.anyone = raw.OpenTo == "anyone"
	s.root = raw.Root
	return s, nil
}

// given names a number that may not be there at all.
func given(f *tomlfile.File, key string, n int) string {
	if !f.Has(key) {
		return "nothing"
	}
	return fmt.Sprint(n)
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate/firewall"
	"sallyport/verify/schedule"
)

// configVersion is that of the file's form. A file without a version has the
// first one.
const configVersion = 1

// file is the configuration as it is written. reference.toml explains it.
type file struct {
	Version        int      `toml:"version" expect:"1, the version of this form"`
	Server         string   `toml:"server" expect:"the host name or address by which clients reach this server"`
	Listen         []string `toml:"listen" expect:"a list of IP addresses in quotes, such as [\"0.0.0.0\", \"::\"]"`
	Ports          int      `toml:"ports" expect:"the number of knocks, a whole number from 1 to 128"`
	Generator      string   `toml:"generator" expect:"\"algorithm1\" or \"java\""`
	PortSecret     string   `toml:"port_secret" expect:"the secret from which the ports are drawn, as text in quotes; or port_secret_file instead"`
	PortSecretFile string   `toml:"port_secret_file" expect:"the path of a file with the port secret"`
	// The secret before the last change, whose ports stay open until a date.
	PortSecretPrevious      string        `toml:"port_secret_previous" expect:"the port secret before the last change, as text in quotes; or port_secret_previous_file instead"`
	PortSecretPreviousFile  string        `toml:"port_secret_previous_file" expect:"the path of a file with the port secret before the last change"`
	PortSecretPreviousUntil time.Time     `toml:"port_secret_previous_until" expect:"a time such as 2026-12-01T00:00:00Z, together with the previous port secret"`
	Clients                 string        `toml:"clients" expect:"the path of the clients file"`
	ClockTolerance          string        `toml:"clock_tolerance" expect:"a duration from \"5s\" to \"60s\" in whole seconds"`
	StateDir                string        `toml:"state_dir" expect:"the path of a directory"`
	Durability              string        `toml:"durability" expect:"\"strict\" or \"relaxed\""`
	AdminSocket             string        `toml:"admin_socket" expect:"the path of a socket for the administrator's commands"`
	Readers                 int           `toml:"readers" expect:"a whole number from 0 (one a processor) to 64"`
	ReceiveBuffer           int           `toml:"receive_buffer" expect:"a number of bytes, 0 (the kernel's default) or 4096 to 268435456"`
	KernelFilter            bool          `toml:"kernel_filter" expect:"true or false"`
	User                    string        `toml:"user" expect:"the name or number of the user that the server becomes when root starts it"`
	Stealth                 bool          `toml:"stealth" expect:"true or false"`
	StealthExcept           []int         `toml:"stealth_except" expect:"a list of UDP ports from 1025 to 65535"`
	OnExit                  string        `toml:"on_exit" expect:"\"closed\" or \"clear\""`
	Service                 []fileService `toml:"service" expect:"a [[service]] table for each service, 1 to 64"`

	// The second protocol.
	Challenge fileChallenge   `toml:"challenge" expect:"a [challenge] table"`
	Operation []fileOperation `toml:"operation" expect:"an [[operation]] table for each operation, 1 to 256"`
}

// config is what the server runs with: everything checked, nothing default.
type config struct {
	path       string
	server     string       // by which clients reach it; empty: not said
	listen     []netip.Addr // empty: all
	ports      int
	generator  schedule.Generator
	portSecret string
	previous   previousSecret
	tolerance  time.Duration
	readers    int // 0: one a processor
	buffer     int // of a socket, in bytes; 0: the kernel's default
	unfiltered bool
	clients    []registered
	services   []serviceConfig
	challenge  *challengeConfig // nil: there is no second protocol
	operations []operationConfig
	stateDir   string
	relaxed    bool // a grant takes effect before its nonces are on disk

	user          string   // empty: none
	stealth       bool     // unsolicited UDP gets no answer, wherever it goes
	stealthExcept []uint16 // but there
	clearOnExit   bool     // the firewall's table goes when the server stops in order

	clientsPath    string
	clientsState   fileState // before it was read
	portSecretPath string    // empty: it stands in the configuration itself
	adminSocket    string
}

// previousSecret keeps the ports of an earlier port secret open for a while.
type previousSecret struct {
	secret string // empty: none
	until  time.Time
}

// portLists draws the ports of a minute: those of the port secret and, until
// its date, those of the one before.
func (cfg config) portLists(m schedule.Minute) ([][]uint16, error) {
	secrets := []string{cfg.portSecret}
	if cfg.previous.secret != "" && m.Start().Before(cfg.previous.until) {
		secrets = append(secrets, cfg.previous.secret)
	}
	lists := make([][]uint16, len(secrets))
	for i, secret := range secrets {
		var err error
		if lists[i], err = schedule.Ports(cfg.generator, secret, m, cfg.ports); err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// readConfig reads a configuration, and nothing that it refers to.
func readConfig(path string) (raw file, f *tomlfile.File, cfg config, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return raw, nil, cfg, fmt.Errorf("read the configuration: %w", err)
	}
	if raw, f, err = parseConfig(path, data); err != nil {
		return raw, nil, cfg, err
	}
	if cfg, err = raw.validate(f); err != nil {
		return raw, nil, config{}, err
	}
	dir := filepath.Dir(path)
	cfg.path = path
	cfg.stateDir = within(dir, raw.StateDir)
	cfg.adminSocket = within(dir, raw.AdminSocket)
	cfg.clientsPath = within(dir, raw.Clients)
	for i := range cfg.services {
		s := &cfg.services[i]
		for _, path := range []*string{&s.root, &s.tlsCert, &s.tlsKey} {
			if *path != "" {
				*path = within(dir, *path)
			}
		}
	}
	return raw, f, cfg, nil
}

// loadConfig reads a configuration and all that it refers to.
func loadConfig(path string) (config, error) { return loadAll(path, config.serviceNames) }

// loadToMend is loadConfig, but for what the clients file says of services:
// commands that mend it have to read it, whatever that is.
func loadToMend(path string) (config, error) {
	return loadAll(path, func(config) []string { return nil })
}

func loadAll(path string, known func(config) []string) (config, error) {
	raw, f, cfg, err := readConfig(path)
	if err != nil {
		return config{}, err
	}
	dir := filepath.Dir(path)
	if cfg.portSecret, err = readSecret(path, raw.PortSecret, raw.PortSecretFile); err != nil {
		return config{}, fmt.Errorf("read the port secret: %w", err)
	}
	if raw.PortSecretFile != "" {
		cfg.portSecretPath = within(dir, raw.PortSecretFile)
	}
	if raw.PortSecretPrevious != "" || raw.PortSecretPreviousFile != "" {
		cfg.previous.until = raw.PortSecretPreviousUntil
		cfg.previous.secret, err = readSecret(path, raw.PortSecretPrevious, raw.PortSecretPreviousFile)
		if err != nil {
			return config{}, fmt.Errorf("read the previous port secret: %w", err)
		}
	}
	if err := cfg.readOperations(raw); err != nil {
		return config{}, err
	}
	for i, s := range cfg.services {
		if info, err := os.Stat(s.root); s.root != "" && (err != nil || !info.IsDir()) {
			return config{}, f.Errorf(fmt.Sprintf("service.%d.root", i), "got %q, which is none", s.root)
		}
	}
	cfg.clientsState = stateOf(cfg.clientsPath)
	cfg.clients, err = loadClients(cfg.clientsPath, known(cfg))
	return cfg, err
}

func (cfg config) serviceNames() []string {
	names := make([]string, len(cfg.services))
	for i, s := range cfg.services {
		names[i] = s.name
	}
	return names
}

// readSecret returns a secret that stands in the configuration, which then
// nobody else may read, or in a file of its own.
func readSecret(configPath, inline, file string) (string, error) {
	if inline == "" {
		return secretfile.ReadOne(within(filepath.Dir(configPath), file))
	}
	info, err := os.Stat(configPath)
	if err != nil {
		return "", err
	}
	return inline, secretfile.Check(configPath, info)
}

func parseConfig(path string, data []byte) (file, *tomlfile.File, error) {
	raw := file{Version: configVersion, Generator: schedule.Algorithm1.String(), AdminSocket: "sallyportd.sock", StateDir: "state", Durability: "strict", OnExit: "closed", KernelFilter: true, ReceiveBuffer: 1 << 20, Challenge: defaultChallenge}
	f, err := tomlfile.Decode(path, data, &raw)
	return raw, f, err
}

// validate checks what the file says by itself.
func (raw file) validate(f *tomlfile.File) (cfg config, err error) {
	if raw.Version != configVersion {
		return cfg, f.Errorf("version", "got %d: was it written for a newer sallyportd?", raw.Version)
	}
	cfg.server = raw.Server
	for i, text := range raw.Listen {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return cfg, f.Errorf("listen", "got %q in place %d", text, i+1)
		}
		if why := unlistenable(a); why != "" {
			return cfg, f.Errorf("listen", "got %q in place %d, which %s", text, i+1, why)
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
	case raw.PortSecretPrevious != "" && raw.PortSecretPreviousFile != "":
		return cfg, f.Errorf("port_secret_previous_file", "got port_secret_previous as well: one of the two is enough")
	case (raw.PortSecretPrevious != "" || raw.PortSecretPreviousFile != "") == raw.PortSecretPreviousUntil.IsZero():
		return cfg, f.Errorf("port_secret_previous_until", "got one without the other")
	case raw.StateDir == "":
		return cfg, f.Errorf("state_dir", "got nothing")
	case raw.Durability != "strict" && raw.Durability != "relaxed":
		return cfg, f.Errorf("durability", "got %q", raw.Durability)
	case raw.AdminSocket == "":
		return cfg, f.Errorf("admin_socket", "got nothing")
	case raw.Clients == "":
		return cfg, f.Errorf("clients", "got nothing")
	}
	if cfg.tolerance, err = f.Duration("clock_tolerance", raw.ClockTolerance, time.Minute); err != nil {
		return cfg, err
	}
	if cfg.tolerance < 5*time.Second || cfg.tolerance > time.Minute || cfg.tolerance%time.Second != 0 {
		return cfg, f.Errorf("clock_tolerance", "got %q", raw.ClockTolerance)
	}
	cfg.relaxed = raw.Durability == "relaxed"
	if cfg.readers = raw.Readers; raw.Readers < 0 || raw.Readers > 64 {
		return cfg, f.Errorf("readers", "got %d", raw.Readers)
	}
	if cfg.buffer = raw.ReceiveBuffer; raw.ReceiveBuffer != 0 && (raw.ReceiveBuffer < 4096 || raw.ReceiveBuffer > 1<<28) {
		return cfg, f.Errorf("receive_buffer", "got %d", raw.ReceiveBuffer)
	}
	cfg.unfiltered = !raw.KernelFilter
	cfg.user, cfg.stealth = raw.User, raw.Stealth
	for _, port := range raw.StealthExcept {
		if port < schedule.MinPort || port > schedule.MaxPort {
			return cfg, f.Errorf("stealth_except", "got %d", port)
		}
		cfg.stealthExcept = append(cfg.stealthExcept, uint16(port))
	}
	if cfg.clearOnExit = raw.OnExit == "clear"; f.Has("on_exit") && !cfg.clearOnExit && raw.OnExit != "closed" {
		return cfg, f.Errorf("on_exit", "got %q", raw.OnExit)
	}
	if cfg.services, err = validateServices(raw.Service, f); err != nil {
		return cfg, err
	}
	if err := raw.validateChallenge(f, &cfg); err != nil {
		return cfg, err
	}
	if cfg.needsHelper() {
		err := cfg.firewall().Validate()
		if wrong := (*firewall.PortError)(nil); errors.As(err, &wrong) {
			return cfg, f.Errorf(fmt.Sprintf("service.%d.listen", wrong.Place), "got %q, but %s has all services stand behind the firewall; %v", cfg.services[wrong.Place].listen, cfg.needsFirewall(), err)
		} else if err != nil {
			return cfg, f.Errorf("service", "got too much for the firewall: %v", err)
		}
	}
	return cfg, nil
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

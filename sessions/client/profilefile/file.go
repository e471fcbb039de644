package profilefile

import (
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"sallyport/sessions/client"
	"sallyport/verify/preamble"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Version is the version of the file format.
const Version = 1

// NewerHint is what to do with a profile of a later version.
const NewerHint = "install the sallyport that the profile was made for; or get another profile, which \"sallyportd client profile\" of an earlier release makes"

// File is the content of a profile's file.
type File struct {
	Version int    `toml:"version" json:"version" expect:"1, the version of this file format"`
	Server  string `toml:"server,omitempty" json:"server" expect:"the host name or address of the server, without a port"`
	// Addresses are those of the server. Without them, the client resolves its name.
	Addresses   []string `toml:"addresses,omitempty" json:"addresses,omitempty" expect:"a list of at most 8 addresses of the server in quotes, such as [\"203.0.113.5\", \"2001:db8::5\"]"`
	PortSecret  string   `toml:"port_secret,omitempty" json:"port_secret,omitempty" expect:"the secret from which the ports are derived, as text in quotes"`
	Ports       int      `toml:"ports,omitempty" json:"ports,omitempty" expect:"the number of knocks, a whole number from 1 to 128"`
	Generator   string   `toml:"generator,omitempty" json:"generator,omitempty" expect:"\"algorithm1\" or \"java\""`
	Identifier  string   `toml:"identifier,omitempty" json:"identifier,omitempty" expect:"4 printable ASCII characters in quotes, no space, no # in front"`
	Secret      string   `toml:"secret,omitempty" json:"secret,omitempty" expect:"the client's secret, as text in quotes without spaces"`
	Service     string   `toml:"service,omitempty" json:"service,omitempty" expect:"host:port or :port of the service to watch, with /udp behind it for a UDP service; :rotate with a [rotate] table"`
	Watch       string   `toml:"watch,omitempty" json:"watch,omitempty" expect:"how to watch the service: \"syn\", \"connection\" or \"none\""`
	Bind        string   `toml:"bind,omitempty" json:"bind,omitempty" expect:"\"isn\" or \"connection\", for a TCP service"`
	ServiceName string   `toml:"service_name,omitempty" json:"service_name,omitempty" expect:"with bind = \"connection\", the name of the service in the server's configuration, 1 to 255 bytes"`
	OpenFor     string   `toml:"open_for,omitempty" json:"open_for,omitempty" expect:"how long the server keeps the service open, a duration such as \"30s\", from 1s to 1000h"`
	Handshake   string   `toml:"handshake,omitempty" json:"handshake,omitempty" expect:"\"granted\", for a TCP service"`
	Expires     string   `toml:"expires,omitempty" json:"expires,omitempty" expect:"from when on the server refuses the client, such as \"2026-12-31T00:00:00Z\""`
	Nonce       uint32   `toml:"nonce,omitempty" json:"nonce,omitempty" expect:"the first nonce of a device that has no record of nonces, a whole number from 0 to 4294967295"`

	// SecretFiles permits other users to read the file.
	SecretFiles string      `toml:"secret_files,omitempty" json:"secret_files,omitempty" expect:"\"private\" or \"shared\""`
	Rotate      *FileRotate `toml:"rotate,omitempty" json:"rotate,omitempty" expect:"a [rotate] table, with service = \":rotate\""`
	// Gateways are in place of Server, Addresses and Nonce.
	Gateways []FileGateway `toml:"gateways,omitempty" json:"gateways,omitempty" expect:"1 to 16 [[gateways]] tables"`
	// Split sends the packets of an attempt to all gateways.
	Split bool `toml:"split,omitempty" json:"split,omitempty" expect:"true or false; true requires at least two [[gateways]] tables"`
	// With the challenge–response protocol, the keys of the sequence protocol may
	// be missing.
	Challenge *FileChallenge `toml:"challenge,omitempty" json:"challenge,omitempty" expect:"a [challenge] table"`
}

// The values of SecretFiles.
const (
	Private = "private"
	Shared  = "shared"
)

// New returns the content of a file without any key.
func New() File { return File{Version: Version, Generator: schedule.Algorithm1.String()} }

// Source is the text from which a File was decoded. Key is dotted, such as
// "challenge.service".
type Source interface {
	Has(key string) bool
	// Duration parses the value of a key; byDefault is for a text without the key.
	Duration(key, value string, byDefault time.Duration) (time.Duration, error)
	// Errorf returns an error about a key: its expect tag, and the formatted text.
	Errorf(key, format string, args ...any) error
}

// ReplaceSecrets returns the content with text in place of each secret.
func (f File) ReplaceSecrets(text string) File {
	if f.Challenge != nil {
		challenge := *f.Challenge
		f.Challenge = &challenge
	}
	for _, s := range f.secrets() {
		if *s != "" {
			*s = text
		}
	}
	return f
}

// secrets returns the fields that are secret.
func (f *File) secrets() []*string {
	secrets := []*string{&f.PortSecret, &f.Secret}
	if f.Challenge != nil {
		secrets = append(secrets, &f.Challenge.Secret, &f.Challenge.HopSecret)
	}
	return secrets
}

// HasSecrets reports whether the content is secret. That of an operation with public keys
// is not, unless its requests age.
func (f File) HasSecrets() bool {
	return slices.ContainsFunc(f.secrets(), func(s *string) bool { return *s != "" })
}

// TOML returns the text of a profile's file.
func (f File) TOML() ([]byte, error) { return toml.Marshal(f) }

// Held names the secrets that the device of a profile holds elsewhere: the file must not have
// them, and the caller sets Signer, and Secret of the Challenge.
type Held struct{ Client, Operation bool }

// requireSecret returns an error unless a key has a secret, or the device holds it
// elsewhere.
func requireSecret(f Source, key, secret string, held bool) error {
	switch {
	case held && f.Has(key):
		return f.Errorf(key, "got it, and also a program on this device that has it")
	case !held && secret == "":
		return f.Errorf(key, "got nothing")
	}
	return nil
}

// Profile checks the content, which was decoded into the result of New.
func (raw File) Profile(f Source) (client.Profile, error) { return raw.ProfileHeld(f, Held{}) }

// ProfileHeld is Profile for a device that holds secrets elsewhere.
func (raw File) ProfileHeld(f Source, held Held) (client.Profile, error) {
	if raw.Version != Version {
		return client.Profile{}, f.Errorf("version", "got %d", raw.Version)
	}
	if f.Has("secret_files") && raw.SecretFiles != Private && raw.SecretFiles != Shared {
		return client.Profile{}, f.Errorf("secret_files", "got %q", raw.SecretFiles)
	}
	var challenge *client.Challenge
	gateways, err := raw.gateways(f)
	if err != nil {
		return client.Profile{}, err
	}
	if raw.Split && len(gateways) < 2 {
		return client.Profile{}, f.Errorf("split", "got true with %d gateways", len(gateways))
	}
	if raw.Challenge != nil {
		if challenge, err = raw.Challenge.parse(f, held.Operation); err != nil {
			return client.Profile{}, err
		}
		if !f.Has("port_secret") && !f.Has("ports") && !f.Has("identifier") && !f.Has("secret") && !held.Client {
			return raw.challengeOnly(f, challenge, gateways)
		}
	}
	for _, required := range []struct {
		key     string
		missing bool
	}{
		{"server", raw.Server == "" && gateways == nil}, {"port_secret", raw.PortSecret == ""}, {"ports", !f.Has("ports")},
		{"identifier", raw.Identifier == ""},
	} {
		if required.missing {
			return client.Profile{}, f.Errorf(required.key, "got nothing")
		}
	}
	if err := requireSecret(f, "secret", raw.Secret, held.Client); err != nil {
		return client.Profile{}, err
	}
	p := client.Profile{
		Server: raw.Server, PortSecret: raw.PortSecret, Ports: raw.Ports,
		Secret: []byte(raw.Secret), Service: raw.Service, FirstNonce: raw.Nonce, Challenge: challenge, Gateways: gateways, Split: raw.Split,
	}
	if gateways == nil && !client.ValidHost(raw.Server) {
		return client.Profile{}, f.Errorf("server", "got %q", raw.Server)
	}
	if p.Addresses, err = raw.addresses(f); err != nil {
		return client.Profile{}, err
	}
	if p.Ports < 1 || p.Ports > schedule.MaxPorts {
		return client.Profile{}, f.Errorf("ports", "got %d", p.Ports)
	}
	if p.Generator, err = schedule.ParseGenerator(raw.Generator); err != nil {
		return client.Profile{}, f.Errorf("generator", "got another text")
	}
	p.Identifier, err = wire.ParseIdentifier(raw.Identifier)
	if err != nil || strings.Contains(raw.Identifier, " ") || raw.Identifier[0] == '#' {
		return client.Profile{}, f.Errorf("identifier", "got another text, of %d bytes", len(raw.Identifier))
	}
	if fault := SecretFault(raw.PortSecret); fault != "" {
		return client.Profile{}, f.Errorf("port_secret", "got %s", fault)
	}
	if fault := SecretFault(raw.Secret); fault != "" {
		return client.Profile{}, f.Errorf("secret", "got %s", fault)
	}
	if strings.Contains(raw.Secret, " ") {
		return client.Profile{}, f.Errorf("secret", "got a space, which the server's clients file cannot contain")
	}
	if f.Has("service") {
		if _, err := client.ParseService(raw.Service); err != nil {
			return client.Profile{}, f.Errorf("service", "got %q", raw.Service)
		}
	}
	if p.Rotation, err = raw.rotation(f); err != nil {
		return client.Profile{}, err
	}
	if p.Watch, err = raw.watch(f); err != nil {
		return client.Profile{}, err
	}
	if p.Bind, err = parseBind(f, "", raw.Bind, raw.Service, raw.ServiceName); err != nil {
		return client.Profile{}, err
	}
	p.ServiceName = raw.ServiceName
	if p.Expires, err = raw.expiry(f); err != nil {
		return client.Profile{}, err
	}
	p.OpenFor, p.Handshake, err = parseOpening(f, "", raw.OpenFor, raw.Handshake, raw.Service)
	return p, err
}

func (raw File) watch(f Source) (client.Watch, error) {
	w := client.Watch(raw.Watch)
	if f.Has("watch") && (w == client.WatchDefault || !w.Valid()) {
		return "", f.Errorf("watch", "got %q", raw.Watch)
	}
	return w, nil
}

// parseBind checks the keys "bind" and "service_name" of a table.
func parseBind(f Source, table, value, service, name string) (client.Bind, error) {
	key, nameKey := table+"bind", table+"service_name"
	b := client.Bind(value)
	s, err := client.ParseService(service)
	switch {
	case f.Has(key) && (b == client.BindAddress || !b.Valid()):
		return "", f.Errorf(key, "got %q", value)
	case b != client.BindAddress && (err != nil || s.UDP):
		return "", f.Errorf(key, "got %q without the key service, or with a UDP service", value)
	case b == client.BindConnection && preamble.CheckService(name) != nil:
		return "", f.Errorf(nameKey, "got %d bytes", len(name))
	case b != client.BindConnection && f.Has(nameKey):
		return "", f.Errorf(nameKey, "got %q without bind = \"connection\"", name)
	case b == client.BindISN && s.Rotates:
		return "", f.Errorf(key, "got %q with a service whose port rotates", value)
	}
	return b, nil
}

// Package profile reads and writes a client's profiles, which are TOML files, and
// defines where the client stores them and its nonces.
package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/verify"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// Version is the version of the file format.
const Version = 1

// File is the content of a profile's file.
type File struct {
	Version int    `toml:"version" json:"version" expect:"1, the version of this file format"`
	Server  string `toml:"server" json:"server" expect:"the host name or address of the server, without a port"`
	// Addresses are those of the server. Without them, the client resolves its name.
	Addresses  []string `toml:"addresses,omitempty" json:"addresses,omitempty" expect:"a list of at most 8 addresses of the server in quotes, such as [\"203.0.113.5\", \"2001:db8::5\"]"`
	PortSecret string   `toml:"port_secret,omitempty" json:"port_secret,omitempty" expect:"the secret from which the ports are derived, as text in quotes"`
	Ports      int      `toml:"ports,omitempty" json:"ports,omitempty" expect:"the number of knocks, a whole number from 1 to 128"`
	Generator  string   `toml:"generator,omitempty" json:"generator,omitempty" expect:"\"algorithm1\" or \"java\""`
	Identifier string   `toml:"identifier,omitempty" json:"identifier,omitempty" expect:"4 printable ASCII characters in quotes, no space, no # in front"`
	Secret     string   `toml:"secret,omitempty" json:"secret,omitempty" expect:"the client's secret, as text in quotes without spaces"`
	Service    string   `toml:"service,omitempty" json:"service,omitempty" expect:"host:port or :port of the service to watch, with /udp behind it for a UDP service; :rotate with a [rotate] table"`
	Watch      string   `toml:"watch,omitempty" json:"watch,omitempty" expect:"how to watch the service: \"syn\", \"connection\" or \"none\""`
	Bind       string   `toml:"bind,omitempty" json:"bind,omitempty" expect:"\"isn\", for a TCP service"`
	OpenFor    string   `toml:"open_for,omitempty" json:"open_for,omitempty" expect:"how long the server keeps the service open, a duration such as \"30s\", from 1s to 1000h"`
	Handshake  string   `toml:"handshake,omitempty" json:"handshake,omitempty" expect:"\"granted\", for a TCP service"`
	Nonce      uint32   `toml:"nonce,omitempty" json:"nonce,omitempty" expect:"the first nonce of a device that has no record of nonces, a whole number from 0 to 4294967295"`

	// SecretFiles permits other users to read the file.
	SecretFiles string      `toml:"secret_files,omitempty" json:"secret_files,omitempty" expect:"\"private\" or \"shared\""`
	Rotate      *FileRotate `toml:"rotate,omitempty" json:"rotate,omitempty" expect:"a [rotate] table, with service = \":rotate\""`
	// With the challenge–response protocol, the keys of the sequence protocol may
	// be missing.
	Challenge *FileChallenge `toml:"challenge,omitempty" json:"challenge,omitempty" expect:"a [challenge] table"`
}

// The values of SecretFiles.
const (
	private = "private"
	shared  = "shared"
)

// Load reads a profile by the path of its file, or by its name. The file of a
// name is NAME.toml in the user's config directory. A path contains a separator
// or ends in .toml.
func Load(nameOrPath string) (client.Profile, error) {
	path, data, err := read(nameOrPath)
	if err != nil {
		return client.Profile{}, err
	}
	return Parse(path, data)
}

// Read returns the content of a profile, which Load accepts.
func Read(nameOrPath string) (File, error) {
	path, data, err := read(nameOrPath)
	if err != nil {
		return File{}, err
	}
	if _, err := Parse(path, data); err != nil {
		return File{}, err
	}
	f := File{Version: Version}
	if err := toml.Unmarshal(data, &f); err != nil {
		return File{}, err
	}
	if f.Challenge != nil && f.Challenge.Algorithm == 0 {
		f.Challenge.Algorithm = int(defaultAlgorithm)
	}
	return f, nil
}

// ReplaceSecrets returns the content with text in place of each secret.
func (f File) ReplaceSecrets(text string) File {
	secrets := []*string{&f.PortSecret, &f.Secret}
	if f.Challenge != nil {
		challenge := *f.Challenge
		f.Challenge = &challenge
		secrets = append(secrets, &f.Challenge.Secret)
	}
	for _, s := range secrets {
		if *s != "" {
			*s = text
		}
	}
	return f
}

// TOML returns the text of a profile's file.
func (f File) TOML() ([]byte, error) { return toml.Marshal(f) }

func read(nameOrPath string) (path string, data []byte, err error) {
	if path, err = locate(nameOrPath); err != nil {
		return "", nil, err
	}
	f, err := secretfile.OpenAny(path)
	if errors.Is(err, fs.ErrNotExist) && path != nameOrPath {
		return "", nil, hint.With(fmt.Errorf("no profile %q: %w", nameOrPath, err),
			"list the names: sallyport profile list\nprofiles with a name are in "+filepath.Dir(path)+
				"; for a file elsewhere, give its path, such as ./"+nameOrPath)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, hint.With(err, "give the path of a profile, or its name (list the names: sallyport profile list)")
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", nil, hint.With(err, "the file, or a directory above it, belongs to another user: "+
			"run the command as that user, or give the path of a profile of this user")
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if data, err = io.ReadAll(f); err != nil {
		return "", nil, fmt.Errorf("read the profile: %w", err)
	}
	if data, err = textfile.Decode(path, data); err != nil {
		return "", nil, err
	}
	// Parse reports an invalid profile.
	var says struct {
		SecretFiles string `toml:"secret_files"`
	}
	toml.Unmarshal(data, &says)
	if err := (secretfile.Rules{Shared: says.SecretFiles == shared}).Check(path, f); err != nil {
		return "", nil, err
	}
	return path, data, nil
}

func locate(nameOrPath string) (string, error) {
	if isPath(nameOrPath) {
		return nameOrPath, nil
	}
	return pathOf(nameOrPath)
}

// Parse reads the text of a profile. Errors name path, the line, the key and the
// expected value.
func Parse(path string, data []byte) (client.Profile, error) {
	raw := File{Version: Version, Generator: schedule.Algorithm1.String()}
	f, err := tomlfile.Decode(path, data, &raw)
	if err != nil {
		return client.Profile{}, err
	}
	if raw.Version != Version {
		return client.Profile{}, f.Errorf("version", "got %d, which requires a newer sallyport", raw.Version)
	}
	if f.Has("secret_files") && raw.SecretFiles != private && raw.SecretFiles != shared {
		return client.Profile{}, f.Errorf("secret_files", "got %q", raw.SecretFiles)
	}
	var challenge *client.Challenge
	if raw.Challenge != nil {
		if challenge, err = raw.Challenge.parse(f); err != nil {
			return client.Profile{}, err
		}
		if !f.Has("port_secret") && !f.Has("ports") && !f.Has("identifier") && !f.Has("secret") {
			return raw.challengeOnly(f, challenge)
		}
	}
	for _, required := range []struct {
		key     string
		missing bool
	}{
		{"server", raw.Server == ""}, {"port_secret", raw.PortSecret == ""}, {"ports", !f.Has("ports")},
		{"identifier", raw.Identifier == ""}, {"secret", raw.Secret == ""},
	} {
		if required.missing {
			return client.Profile{}, f.Errorf(required.key, "got nothing")
		}
	}
	p := client.Profile{
		Server: raw.Server, PortSecret: raw.PortSecret, Ports: raw.Ports,
		Secret: []byte(raw.Secret), Service: raw.Service, FirstNonce: raw.Nonce, Challenge: challenge,
	}
	if !ValidServer(raw.Server) {
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
	if fault := secretfile.Fault(raw.PortSecret); fault != "" {
		return client.Profile{}, f.Errorf("port_secret", "got %s", fault)
	}
	if fault := secretfile.Fault(raw.Secret); fault != "" {
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
	if p.Bind, err = parseBind(f, "bind", raw.Bind, raw.Service); err != nil {
		return client.Profile{}, err
	}
	p.OpenFor, p.Handshake, err = parseOpening(f, "", raw.OpenFor, raw.Handshake, raw.Service)
	return p, err
}

func (raw File) watch(f *tomlfile.File) (client.Watch, error) {
	w := client.Watch(raw.Watch)
	if f.Has("watch") && (w == client.WatchDefault || !w.Valid()) {
		return "", f.Errorf("watch", "got %q", raw.Watch)
	}
	return w, nil
}

// parseBind reads a key "bind".
func parseBind(f *tomlfile.File, key, value, service string) (client.Bind, error) {
	b := client.Bind(value)
	s, err := client.ParseService(service)
	switch {
	case f.Has(key) && b != client.BindISN:
		return "", f.Errorf(key, "got %q", value)
	case b == client.BindISN && (err != nil || s.UDP):
		return "", f.Errorf(key, "got %q without the key service, or with a UDP service", value)
	case b == client.BindISN && s.Rotates:
		return "", f.Errorf(key, "got %q with a service whose port rotates", value)
	}
	return b, nil
}

// ValidServer reports whether s is a valid host name or address of a server,
// without a port.
func ValidServer(s string) bool { return client.ValidHost(s) }

// Format returns the text of a profile, which Parse reads. It contains secrets.
func Format(p client.Profile) ([]byte, error) {
	return toml.Marshal(File{
		Version: Version, Server: p.Server, Addresses: addressTexts(p.Addresses),
		PortSecret: p.PortSecret, Ports: p.Ports, Generator: p.Generator.String(),
		Identifier: p.Identifier.String(), Secret: string(p.Secret), Service: p.Service, Watch: string(p.Watch), Bind: string(p.Bind),
		OpenFor: openForText(p.OpenFor), Handshake: string(p.Handshake), Nonce: p.FirstNonce,
		Rotate: fileRotate(p.Rotation),
	})
}

// FormatOperation returns the text of an operation's profile, which Parse reads. It
// contains the operation's secret.
func FormatOperation(o Operation) ([]byte, error) {
	return toml.Marshal(File{Version: Version, Server: o.Server, Addresses: addressTexts(o.Addresses), Challenge: o.file()})
}

// Nonces returns the nonce file of a profile, in the user's state directory.
// Profiles with the same client and secret share it, whatever name they have for the
// server. A new secret gets a new file.
func Nonces(p client.Profile) (client.NonceFile, error) {
	dirs, err := stateDirs()
	if err != nil {
		return client.NonceFile{}, fmt.Errorf("find the user's state directory: %w", err)
	}
	secret, err := verify.FingerprintOf(p.Secret)
	if err != nil {
		return client.NonceFile{}, fmt.Errorf("name the nonce file: %w", err)
	}
	drawn, err := client.DrawNonce()
	if err != nil {
		return client.NonceFile{}, err
	}
	id := p.Identifier.String()
	name := url.QueryEscape(fmt.Sprintf("%s-%016x", id, uint64(secret))) + ".nonce"
	earlier := url.QueryEscape(id+"@"+p.Server) + ".nonce"
	return client.NonceFile{
		Path: filepath.Join(existing(dirs, name, earlier), name), Earlier: filepath.Join(existing(dirs, earlier), earlier),
		First: p.FirstNonce, Drawn: drawn,
	}, nil
}

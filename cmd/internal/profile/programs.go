package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/keyprogram"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/sessions/durable"
	"sallyport/sessions/durations"
)

// Programs is the content of the local file of a stored profile: the programs that hold
// its secrets. Profiles come from others, so they cannot name programs; only "profile
// set" writes this file. At most one of SecretCommand and MACCommand is set. A command is
// a program's absolute path and its arguments.
type Programs struct {
	Version       int                `toml:"version" json:"-" expect:"1, the version of this file format"`
	SecretCommand []string           `toml:"secret_command,omitempty" json:"secret_command,omitempty" expect:"a list of texts in quotes: the absolute path of a program, and its arguments"`
	MACCommand    []string           `toml:"mac_command,omitempty" json:"mac_command,omitempty" expect:"a list of texts in quotes: the absolute path of a program, and its arguments"`
	Timeout       string             `toml:"timeout,omitempty" json:"timeout,omitempty" expect:"how long a program may take, a duration such as \"1m\", from 1s to 10m"`
	Challenge     *ChallengePrograms `toml:"challenge,omitempty" json:"challenge,omitempty" expect:"a [challenge] table"`
}

// ChallengePrograms is the [challenge] table of Programs.
type ChallengePrograms struct {
	SecretCommand []string `toml:"secret_command,omitempty" json:"secret_command,omitempty" expect:"a list of texts in quotes: the absolute path of a program, and its arguments"`
}

const (
	programsSuffix  = ".local"
	programsVersion = 1

	// newerPrograms is what to do with a file of a later version.
	newerPrograms = "install the sallyport that wrote the file; or remove the file, and name the program again: sallyport profile set NAME --help"

	minTimeout = time.Second
	maxTimeout = 10 * time.Minute
)

// held returns the secrets that the programs have.
func (p Programs) held() profilefile.Held {
	return profilefile.Held{
		Client:    len(p.SecretCommand)+len(p.MACCommand) > 0,
		Operation: p.Challenge != nil && len(p.Challenge.SecretCommand) > 0,
	}
}

// empty reports whether there is no program.
func (p Programs) empty() bool { return p.held() == profilefile.Held{} }

// Listed returns the programs for a list; nil: there are none.
func (p Programs) Listed() *Programs {
	if p.empty() {
		return nil
	}
	return &p
}

// timeout is the time for a program; 0: the default.
func (p Programs) timeout() time.Duration {
	d, _ := durations.Parse(p.Timeout) // readPrograms has parsed it
	return d
}

// use lets the programs sign for a profile.
func (p Programs) use(of *client.Profile, stderr io.Writer) {
	program := func(key string, argv []string) keyprogram.Program {
		return keyprogram.Program{Key: key, Argv: argv, Timeout: p.timeout(), Stderr: stderr}
	}
	switch {
	case len(p.SecretCommand) > 0:
		of.Signer = &keyprogram.Secret{Program: program("secret_command", p.SecretCommand), Check: clientSecret}
	case len(p.MACCommand) > 0:
		of.Signer = &keyprogram.MAC{Program: program("mac_command", p.MACCommand)}
	}
	if p.held().Operation && of.Challenge != nil {
		secret := &keyprogram.Secret{Program: program("challenge.secret_command", p.Challenge.SecretCommand)}
		of.Challenge.Secret = secret.Get
	}
}

// clientSecret returns an error about a text that cannot be the secret of a client.
func clientSecret(secret string) error {
	if strings.Contains(secret, " ") {
		return errors.New("expected a client's secret, got text with a space, which the server's clients file cannot contain")
	}
	return nil
}

// End ends the programs that sign for a profile.
func End(p client.Profile) {
	if c, ok := p.Signer.(io.Closer); ok {
		c.Close()
	}
}

// programsPath returns the path of the local file of a stored profile.
func programsPath(path string) string { return strings.TrimSuffix(path, suffix) + programsSuffix }

// readPrograms reads the local file beside a stored profile, which may be missing.
func readPrograms(path string) (p Programs, err error) {
	path = programsPath(path)
	f, err := secretfile.OpenAny(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	defer f.Close()
	if err := onlyOurs(path, f); err != nil {
		return p, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPrograms+1))
	if err != nil {
		return p, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxPrograms {
		return p, fmt.Errorf("%s: expected at most %d bytes, got more", path, maxPrograms)
	}
	return parsePrograms(path, data)
}

// maxPrograms is the maximum size of a local file, in bytes.
const maxPrograms = 64 << 10

func parsePrograms(path string, data []byte) (p Programs, err error) {
	if err := tomlfile.CheckVersion(path, data, programsVersion, "sallyport", newerPrograms); err != nil {
		return Programs{}, err
	}
	f, err := tomlfile.Decode(path, data, &p)
	if err != nil {
		return Programs{}, err
	}
	if p.Version != programsVersion {
		return Programs{}, f.Errorf("version", "got %d", p.Version)
	}
	if len(p.SecretCommand) > 0 && len(p.MACCommand) > 0 {
		return Programs{}, f.Errorf("mac_command", "got it, and also secret_command")
	}
	commands := map[string][]string{"secret_command": p.SecretCommand, "mac_command": p.MACCommand}
	if p.Challenge != nil {
		commands["challenge.secret_command"] = p.Challenge.SecretCommand
	}
	for key, argv := range commands {
		if f.Has(key) && len(argv) == 0 {
			return Programs{}, f.Errorf(key, "got an empty list")
		}
		if len(argv) > 0 && !filepath.IsAbs(argv[0]) {
			return Programs{}, f.Errorf(key, "got %q as the path", argv[0])
		}
	}
	d, err := f.Duration("timeout", p.Timeout, keyprogram.DefaultTimeout)
	if err == nil && (d < minTimeout || d > maxTimeout) {
		err = f.Errorf("timeout", "got %q", p.Timeout)
	}
	if err != nil {
		return Programs{}, err
	}
	return p, nil
}

// writePrograms replaces the local file of a stored profile; without a program, it removes
// the file.
func writePrograms(path string, p Programs) error {
	path = programsPath(path)
	if p.empty() {
		if err := durable.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return hint.Writing(err)
		}
		return nil
	}
	p.Version = programsVersion
	text, err := toml.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := parsePrograms(path, text); err != nil {
		return err
	}
	return hint.Writing(durable.WriteFile(path, text, 0o600))
}

// namesPrograms returns an error about a profile that names a program to run.
func namesPrograms(path string, data []byte) error {
	var all map[string]any
	if toml.Unmarshal(data, &all) != nil {
		return nil // the caller reports it
	}
	challenge, _ := all["challenge"].(map[string]any)
	for _, table := range []map[string]any{all, challenge} {
		for key := range table {
			if k := strings.ToLower(key); k == "secret_command" || k == "mac_command" {
				return hint.With(fmt.Errorf("%s: %s: a profile must not name a program to run: it comes from others", path, key),
					"remove the line; if you trust the program, name it after \"profile add\": sallyport profile set NAME --help")
			}
		}
	}
	return nil
}

// Executable returns the absolute path of a program, which may be a name in PATH.
func Executable(name string, look func(string) (string, error)) (string, error) {
	path, err := look(name)
	if err != nil {
		return "", hint.With(fmt.Errorf("there is no program %q", name), "install it, or give its path")
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "", fmt.Errorf("expected a program, got the directory %s", path)
	}
	return path, nil
}

package profile

import (
	"context"
	"io"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/sshkey"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge/exchange"
)

// Reader reads profiles together with what this device has for them.
type Reader struct {
	// Stderr receives what a failed program has printed, and for what the client waits;
	// nil: nothing does.
	Stderr io.Writer
	Locker Locker // nil: locked profiles are errors
	// Ask asks for the passphrase of a private key; nil: such keys are errors.
	Ask sshkey.Ask
}

// Stored is what a Reader has read.
type Stored struct {
	Path     string
	Content  profilefile.File
	Programs Programs // of a profile with a name
}

// LacksSecret reports whether a secret is neither in the profile nor in a program.
func (s Stored) LacksSecret() bool {
	held := s.Programs.held()
	return s.Content.PortSecret != "" && s.Content.Secret == "" && !held.Client ||
		s.Content.Challenge != nil && !s.Content.Challenge.Signed() && s.Content.Challenge.Secret == "" && !held.Operation
}

// Load is the function Load. It starts no program: the first Sign does. The caller calls
// End.
func (r Reader) Load(ctx context.Context, nameOrPath string) (client.Profile, error) {
	p, _, _, err := r.load(ctx, nameOrPath, false)
	return p, err
}

// LoadStored is Load and Read. A profile with a name may lack its secrets, after a program
// that had them was removed: then it cannot knock.
func (r Reader) LoadStored(ctx context.Context, nameOrPath string) (client.Profile, Stored, error) {
	p, s, _, err := r.load(ctx, nameOrPath, true)
	return p, s, err
}

// Read returns the content of a profile that LoadStored accepts.
func (r Reader) Read(ctx context.Context, nameOrPath string) (Stored, error) {
	_, s, _, err := r.load(ctx, nameOrPath, true)
	return s, err
}

// load loads a profile. With lost, one with a name may lack its secrets.
func (r Reader) load(ctx context.Context, nameOrPath string, lost bool) (p client.Profile, s Stored, text []byte, err error) {
	if s.Path, text, _, err = r.open(ctx, nameOrPath); err != nil {
		return p, s, nil, err
	}
	// A path may lead to files of others, which must not name programs.
	if !isPath(nameOrPath) {
		if s.Programs, err = readPrograms(s.Path); err != nil {
			return p, s, nil, err
		}
	}
	lacks := s.Programs.held()
	if content, err := decode(text); err == nil && lost && !isPath(nameOrPath) {
		lacks = s.Programs.lacks(content)
	}
	if p, err = parse(s.Path, text, lacks); err != nil {
		return p, s, nil, err
	}
	s.Programs.use(&p, r.Stderr)
	if c := p.Challenge; c != nil && c.Operation.Signed() {
		c.Key = sshkey.For(*c, r.Ask, r.Stderr)
	}
	s.Content, err = decode(text)
	return p, s, text, err
}

// decode returns the content of a valid profile.
func decode(data []byte) (profilefile.File, error) {
	f := profilefile.File{Version: profilefile.Version}
	if err := toml.Unmarshal(data, &f); err != nil {
		return profilefile.File{}, err
	}
	if f.Challenge != nil && f.Challenge.Algorithm == 0 {
		f.Challenge.Algorithm = int(profilefile.DefaultAlgorithm)
		if f.Challenge.Signed() {
			f.Challenge.Algorithm = int(exchange.Mutual)
		}
	}
	return f, nil
}

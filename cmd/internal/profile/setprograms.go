package profile

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify"
)

// SetPrograms changes the programs of a stored profile. It runs those that are left, and
// compares the secrets that the profile has with theirs; then it removes these from the
// profile. It returns the keys of the removed ones.
func (r Reader) SetPrograms(ctx context.Context, name string, change func(*Programs)) (s Stored, removed []string, err error) {
	if s.Path, err = pathOf(name); err != nil {
		return s, nil, err
	}
	_, data, locked, err := r.open(ctx, name)
	if err != nil {
		return s, nil, err
	}
	if s.Programs, err = readPrograms(s.Path); err != nil {
		return s, nil, err
	}
	change(&s.Programs)
	text, removed, err := r.settle(ctx, s.Path, data, s.Programs)
	if err != nil {
		return s, nil, err
	}
	if err := writePrograms(s.Path, s.Programs); err != nil {
		return s, nil, err
	}
	if len(removed) > 0 {
		if err := r.store(ctx, s.Path, text, locked); err != nil {
			return s, nil, err
		}
	}
	s.Content, err = decode(text)
	return s, removed, err
}

// settle returns the text of a profile without the secrets that programs have, after it
// has checked that they are the same. Without programs, the profile may lack secrets.
func (r Reader) settle(ctx context.Context, path string, data []byte, programs Programs) (text []byte, removed []string, err error) {
	if isLocked(data) {
		return nil, nil, lockedError(path)
	}
	if err := namesPrograms(path, data); err != nil {
		return nil, nil, err
	}
	content, err := decode(data)
	if err != nil {
		_, err = Parse(path, data)
		return nil, nil, err
	}
	held := programs.held()
	if held.Client && content.PortSecret == "" || held.Operation && content.Challenge == nil {
		return nil, nil, fmt.Errorf("%s: the profile has no such secret: secret_command and mac_command are for the key secret, "+
			"and challenge.secret_command is for that of [challenge]", path)
	}
	if held.Operation && content.Challenge.Signed() {
		return nil, nil, hint.With(fmt.Errorf("%s: the operation has public keys, and no secret that a program could hold", path),
			"to keep the private key in hardware, let the SSH agent hold it: agent = true in [challenge]; for a profile that has had programs: sallyport profile set NAME --none")
	}
	text = data
	for _, s := range []struct {
		table, key string
		held       bool
	}{{"", "secret", held.Client}, {"challenge", "challenge.secret", held.Operation}} {
		if !s.held || secretOf(content, s.table) == "" {
			continue
		}
		if text, err = withoutSecret(text, s.table); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		removed = append(removed, s.key)
	}
	p, err := parse(path, text, programs.lacks(content))
	if err != nil {
		return nil, nil, err
	}
	programs.use(&p, r.Stderr)
	defer End(p)
	return text, removed, check(ctx, p, held, content)
}

// lacks returns the secrets that the file of a profile may lack: programs have them, or it
// has lost them with programs that were removed.
func (p Programs) lacks(content profilefile.File) profilefile.Held {
	held := p.held()
	return profilefile.Held{
		Client:    held.Client || p.empty() && content.Secret == "" && content.PortSecret != "",
		Operation: held.Operation || p.empty() && content.Challenge != nil && !content.Challenge.Signed() && content.Challenge.Secret == "",
	}
}

func secretOf(content profilefile.File, table string) string {
	if table == "" {
		return content.Secret
	}
	if content.Challenge == nil {
		return ""
	}
	return content.Challenge.Secret
}

// check runs the programs of a profile, and compares their secrets with those of a file.
func check(ctx context.Context, p client.Profile, held profilefile.Held, content profilefile.File) error {
	if held.Client {
		message := verify.FingerprintMessage()
		got, err := p.Sign(ctx, message)
		if err != nil {
			return err
		}
		want, _ := client.SecretSigner(content.Secret).Sign(ctx, message)
		if content.Secret != "" && !hmac.Equal(got[0][:], want[0][:]) {
			return otherSecret("secret")
		}
	}
	if held.Operation {
		got, err := p.Challenge.Secret(ctx)
		if err != nil {
			return err
		}
		if want := secretOf(content, "challenge"); want != "" && !hmac.Equal([]byte(got), []byte(want)) {
			return otherSecret("challenge.secret")
		}
	}
	return nil
}

func otherSecret(key string) error {
	return hint.With(fmt.Errorf("the program has another secret than the key %s of the profile; nothing was changed", key),
		"store the secret of the profile where the program reads it, and repeat the command; \"sallyport profile show NAME --secrets\" prints that of a stored profile")
}

var (
	tableLine  = regexp.MustCompile(`^\s*\[\[?\s*"?'?([A-Za-z.]*)`)
	secretLine = regexp.MustCompile(`^\s*(secret|"secret"|'secret')\s*=`)
)

// withoutSecret removes the line with the key secret of a table; empty: the outermost one.
// The other lines stay as they are.
func withoutSecret(text []byte, table string) ([]byte, error) {
	var kept strings.Builder
	in, removed := "", false
	for line := range strings.Lines(string(text)) {
		if m := tableLine.FindStringSubmatch(line); m != nil {
			in = m[1]
		}
		if in == table && secretLine.MatchString(line) && !removed {
			removed = true
			continue
		}
		kept.WriteString(line)
	}
	want, err := decode(text)
	if err != nil {
		return nil, err
	}
	left, err := decode([]byte(kept.String()))
	if err != nil || !removed || !same(left, want, table) {
		return nil, errors.New("expected a line with only the secret, such as: secret = \"…\"")
	}
	return []byte(kept.String()), nil
}

// same reports whether a file has all that another one has, except for the secret of a
// table.
func same(left, want profilefile.File, table string) bool {
	if table == "" {
		want.Secret = ""
	} else {
		challenge := *want.Challenge
		challenge.Secret = ""
		want.Challenge = &challenge
	}
	a, errA := left.TOML()
	b, errB := want.TOML()
	return errA == nil && errB == nil && string(a) == string(b)
}

package config

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/verify/challenge/exchange"
)

// maxKeysFile is the maximum size of a file with public keys, in bytes.
const maxKeysFile = 64 << 10

// publicKeys checks the keys of an operation, and parses those in the configuration.
// Load reads the others.
func (r *rawOperation) publicKeys(f *tomlfile.File, at string, o *Operation, c *Config) (err error) {
	o.Signed = f.Has(at+"keys") || f.Has(at+"keys_file")
	if !o.Signed {
		return nil
	}
	switch {
	case f.Has(at+"keys") && f.Has(at+"keys_file"):
		return f.Errorf(at+"keys_file", "got keys as well; only one of the two is allowed")
	case r.Secret != "" || r.SecretFile != "":
		return f.Errorf(at+"secret", "got public keys as well; an operation has a secret or public keys")
	case f.Has(at+"algorithm") && o.Algorithm != exchange.Mutual:
		return f.Errorf(at+"algorithm", "got %d; an operation with public keys has Algorithm 3", r.Algorithm)
	case c.Challenge.hostKeyFile == "":
		return hint.With(f.Errorf("challenge.host_key_file", "got nothing, but operation %q has public keys: the key authenticates the server", r.ID),
			"make one: sallyportd host-key create FILE")
	}
	o.Algorithm = exchange.Mutual
	if !f.Has(at + "keys") {
		if r.KeysFile == "" {
			return f.Errorf(at+"keys_file", "got nothing")
		}
		return nil
	}
	o.Keys, err = parsePublicKeys(strings.Join(r.Keys, "\n"))
	if err == nil && len(o.Keys) == 0 {
		err = errors.New("got none")
	}
	if err != nil {
		return f.Errorf(at+"keys", "%v", err)
	}
	return nil
}

// parsePublicKeys parses lines of an authorized_keys file. Options that would restrict
// a login are errors: to ignore one would permit more than the line does.
func parsePublicKeys(text string) (keys []exchange.PublicKey, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' && !strings.Contains(line, "\r") {
			continue
		}
		k, err := parsePublicKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if len(keys) > 0 && k.IsSecurityKey() != keys[0].IsSecurityKey() {
			return nil, fmt.Errorf("line %d: got a key of type %s after one of type %s; the keys of an operation have one type", n, k.Type(), keys[0].Type())
		}
		same := func(o exchange.PublicKey) bool { return o.Fingerprint() == k.Fingerprint() }
		if slices.ContainsFunc(keys, same) {
			return nil, fmt.Errorf("line %d: the key occurs twice", n)
		}
		keys = append(keys, k)
	}
	if len(keys) > exchange.MaxKeys {
		return nil, fmt.Errorf("got %d keys; an operation has at most %d", len(keys), exchange.MaxKeys)
	}
	return keys, nil
}

func parsePublicKey(line string) (k exchange.PublicKey, err error) {
	// ParseAuthorizedKey would pass over the rest of the line, which may have other keys.
	if strings.Contains(line, "\r") {
		return k, errors.New("got a carriage return in the line; expected line ends of Unix or Windows")
	}
	public, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return k, errors.New("expected a public key as in authorized_keys")
	}
	// First, because a line for an authority may have a key of any type.
	for _, o := range options {
		switch name, _, _ := strings.Cut(strings.ToLower(o), "="); name {
		case "no-touch-required":
			k.NoTouch = true
		case "verify-required":
			k.VerifyRequired = true
		case "cert-authority", "principals":
			return k, fmt.Errorf("got the option %s; certificates are not possible", name)
		default:
			return k, fmt.Errorf("got the option %s; only no-touch-required and verify-required are possible", name)
		}
	}
	touch, verify := k.NoTouch, k.VerifyRequired
	if k, err = exchange.ParsePublicKey(public.Marshal()); err != nil {
		return k, err
	}
	k.NoTouch, k.VerifyRequired = touch, verify
	if len(options) > 0 && !k.IsSecurityKey() {
		return k, errors.New("got an option of security keys for another key")
	}
	return k, nil
}

// readPublicKeys reads the public keys of an operation, which a key names.
func (c *Config) readPublicKeys(key, id, file string) ([]exchange.PublicKey, error) {
	keys, err := c.PublicKeysIn(file)
	if err != nil {
		return nil, fmt.Errorf("%s: read the public keys of operation %q: %w", c.file.Where(key), id, err)
	}
	return keys, nil
}

// PublicKeysIn reads public keys from a file, which other users may read, but not
// change.
func (c *Config) PublicKeysIn(file string) ([]exchange.PublicKey, error) {
	path, err := c.secretPath(file)
	if err != nil {
		return nil, err
	}
	f, err := secretfile.Rules{User: c.SecretFiles.User, Shared: true}.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeysFile+1))
	if err == nil && len(text) > maxKeysFile {
		err = fmt.Errorf("%s: expected at most %d bytes", path, maxKeysFile)
	}
	if err == nil {
		text, err = textfile.Decode(path, text)
	}
	if err != nil {
		return nil, err
	}
	keys, err := parsePublicKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// readHostKey reads the host key.
func (c *Config) readHostKey() error {
	const what = "the host key"
	text, err := c.readSecret("challenge.host_key_file", what, "", c.Challenge.hostKeyFile)
	if err != nil {
		return err
	}
	if c.Challenge.HostKey, err = exchange.ParseHostKey(text); err != nil {
		return fmt.Errorf("%s: read %s: %w", c.file.Where("challenge.host_key_file"), what, err)
	}
	return nil
}

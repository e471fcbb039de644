package profilefile

import (
	"path/filepath"
	"strings"

	"sallyport/sessions/client"
	"sallyport/verify/challenge/exchange"
)

// Signed reports whether the operation has public keys instead of a secret.
func (raw FileChallenge) Signed() bool { return raw.HostKey != "" }

// publicKeys reads the keys of an operation with public keys.
func (raw FileChallenge) publicKeys(f Source, c *client.Challenge, held bool) error {
	switch {
	case held:
		return withHint(f.Errorf("challenge.host_key", "got one, but a program of this device has the operation's secret; an operation has a secret or public keys"),
			"remove the programs first: sallyport profile set NAME --none")
	case raw.Secret != "":
		return f.Errorf("challenge.secret", "got host_key as well; an operation has a secret or public keys")
	case raw.Key == "" && !raw.Agent:
		return f.Errorf("challenge.key", "got neither")
	case raw.Key != "" && raw.Agent:
		return f.Errorf("challenge.agent", "got key as well")
	case raw.Key != "" && !filepath.IsAbs(raw.Key) && !strings.HasPrefix(raw.Key, "~/"):
		return f.Errorf("challenge.key", "got %q", raw.Key)
	case len(raw.PublicKeys) == 0 || len(raw.PublicKeys) > exchange.MaxKeys:
		return f.Errorf("challenge.public_keys", "got %d", len(raw.PublicKeys))
	}
	host, err := exchange.ParseHostPublic(raw.HostKey)
	if err != nil {
		return f.Errorf("challenge.host_key", "%v", err)
	}
	for i, text := range raw.PublicKeys {
		k, err := exchange.ParsePublicText(text)
		if err != nil {
			return f.Errorf("challenge.public_keys", "entry %d: %v", i+1, err)
		}
		if i > 0 && k.Type() != c.PublicKeys[0].Type() {
			return f.Errorf("challenge.public_keys", "got keys of the types %s and %s", c.PublicKeys[0].Type(), k.Type())
		}
		c.PublicKeys = append(c.PublicKeys, k)
	}
	c.KeyFile, c.Agent = raw.Key, raw.Agent
	if c.Operation, err = c.Operation.WithHost(host, c.PublicKeys[0]); err != nil {
		return f.Errorf("challenge.operation", "got an invalid operation: %v", err)
	}
	return nil
}

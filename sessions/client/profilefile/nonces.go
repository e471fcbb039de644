package profilefile

import (
	"fmt"
	"net/url"

	"sallyport/sessions/client"
	"sallyport/verify"
)

// NonceNames returns the name of the nonce file of a profile, and the one that an earlier
// release used. Profiles with the same client and secret share it, whatever name they
// have for the server. A new secret gets a new file.
func NonceNames(p client.Profile) (name, earlier string, err error) {
	secret, err := verify.FingerprintOf(p.Secret)
	if err != nil {
		return "", "", fmt.Errorf("name the nonce file: %w", err)
	}
	const suffix = ".nonce"
	id := p.Identifier.String()
	return url.QueryEscape(fmt.Sprintf("%s-%016x", id, uint64(secret))) + suffix, url.QueryEscape(id+"@"+p.Server) + suffix, nil
}

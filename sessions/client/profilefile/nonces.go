package profilefile

import (
	"context"
	"fmt"
	"net/url"

	"sallyport/sessions/client"
	"sallyport/verify"
)

// NonceNames returns the name of the nonce file of a profile, and the one that an earlier
// release used. Profiles with the same client and secret share it, whatever name they
// have for the server. A new secret gets a new file. The gateways of a profile with Split
// have one file.
func NonceNames(ctx context.Context, p client.Profile) (name, earlier string, err error) {
	mac, err := p.SignNonces(ctx, verify.FingerprintMessage())
	if err != nil {
		return "", "", err
	}
	secret := verify.FingerprintOfMAC(mac)
	const suffix = ".nonce"
	id := p.Identifier.String()
	return url.QueryEscape(fmt.Sprintf("%s-%016x", id, uint64(secret))) + suffix, url.QueryEscape(id+"@"+p.Server) + suffix, nil
}

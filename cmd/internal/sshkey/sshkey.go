// Package sshkey signs the responses of exchanges with private keys of OpenSSH: in a
// file, or in an SSH agent, which may keep them in hardware.
//
//	For     the signer that a profile asks for
//
// A signer signs data of the form SSHSIG only, which exchange.Answer.ToSign is: never
// bytes that could be of another protocol. No error has a part of a private key.
package sshkey

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"

	"sallyport/sessions/client"
	"sallyport/verify/challenge/exchange"
)

// Ask asks a person for a passphrase.
type Ask func(ctx context.Context, prompt string) (string, error)

// For returns the signer of an operation with public keys. Ask may be nil: then keys
// with a passphrase are errors. Stderr receives for what the client waits; nil: nothing
// does.
func For(c client.Challenge, ask Ask, stderr io.Writer) client.KeySigner {
	if c.Agent {
		return &agentSigner{keys: c.PublicKeys, dial: dialAgent, limit: listTime, stderr: stderr}
	}
	return &fileSigner{path: c.KeyFile, keys: c.PublicKeys, ask: ask}
}

// checkData rejects data that is not of the namespace of exchanges.
func checkData(data []byte) error {
	if !strings.HasPrefix(string(data), exchange.SignedPrefix) {
		return errors.New("refused to sign data of another protocol")
	}
	return nil
}

// among reports whether the server knows a key.
func among(keys []exchange.PublicKey, k exchange.PublicKey) bool {
	return slices.ContainsFunc(keys, func(o exchange.PublicKey) bool { return o.Fingerprint() == k.Fingerprint() })
}

// Fingerprint returns the fingerprint of a key as ssh-keygen -l prints it.
func Fingerprint(k exchange.PublicKey) string {
	sum := k.Fingerprint()
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

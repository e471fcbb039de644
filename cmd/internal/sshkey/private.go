package sshkey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"sallyport/cmd/internal/hint"
	"sallyport/verify/challenge/exchange"
)

// errPassphrase is the error of a key that requires a passphrase.
var errPassphrase = errors.New("the key has a passphrase")

// parsePrivate parses the text of an Ed25519 private key, as OpenSSH or, without a
// passphrase, OpenSSL writes it. With errPassphrase, public is that of the key, if the
// text has it. No error repeats a part of the text.
func parsePrivate(text, passphrase []byte) (private ed25519.PrivateKey, public exchange.PublicKey, err error) {
	var key any
	if passphrase == nil {
		key, err = ssh.ParseRawPrivateKey(text)
	} else {
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(text, passphrase)
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		if locked.PublicKey != nil {
			if public, err = exchange.ParsePublicKey(locked.PublicKey.Marshal()); err != nil {
				return nil, public, wrongType(locked.PublicKey.Type())
			}
		}
		return nil, public, errPassphrase
	case errors.Is(err, x509.IncorrectPasswordError):
		return nil, public, errors.New("wrong passphrase")
	case err != nil && isSecurityKey(text):
		return nil, public, hint.With(errors.New("expected an Ed25519 private key, got the file of a security key, which does not have the key"),
			"add it to the SSH agent (ssh-add FILE), and set agent = true in place of key in the profile")
	case err != nil:
		return nil, public, hint.With(errors.New("expected an Ed25519 private key in the format of OpenSSH"),
			"make one: ssh-keygen -t ed25519; of PuTTY's format: puttygen FILE -O private-openssh-new -o NEW")
	}
	switch k := key.(type) {
	case *ed25519.PrivateKey:
		private = *k
	case ed25519.PrivateKey:
		private = k
	case *rsa.PrivateKey:
		return nil, public, wrongType(ssh.KeyAlgoRSA)
	case *ecdsa.PrivateKey:
		return nil, public, wrongType("ecdsa")
	}
	if len(private) != ed25519.PrivateKeySize {
		return nil, public, wrongType("another type")
	}
	public.Key = [ed25519.PublicKeySize]byte(private.Public().(ed25519.PublicKey))
	return private, public, nil
}

func wrongType(got string) error {
	return hint.With(fmt.Errorf("expected an Ed25519 private key, got one of type %s", got), "make one: ssh-keygen -t ed25519")
}

// isSecurityKey reports whether a text is that of a security key of OpenSSH: its public
// half is not encrypted.
func isSecurityKey(text []byte) bool {
	block, _ := pem.Decode(text)
	return block != nil && bytes.Contains(block.Bytes, []byte("sk-ssh-ed25519@openssh.com"))
}

// refusePublic returns an error for the file of a public key.
func refusePublic(path string, text []byte) error {
	private, named := strings.CutSuffix(path, ".pub")
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if _, err := exchange.ParsePublicText(first); err != nil && !named {
		return nil
	}
	advice := "set key in the profile to the file of the private key"
	if named {
		advice = "set key = \"" + private + "\" in the profile"
	}
	return hint.With(errors.New("expected the file of a private key, got that of a public one"), advice)
}

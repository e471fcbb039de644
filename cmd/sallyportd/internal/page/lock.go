package page

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	// Rounds is how many rounds of PBKDF2 with HMAC-SHA256 a guess of a passphrase costs.
	Rounds = 600_000

	// alphabet is that of Crockford's base32: without letters that look like others.
	alphabet        = "0123456789abcdefghjkmnpqrstvwxyz"
	passphraseSize  = 16 // characters of 5 bits
	passphraseGroup = 4
	saltSize        = 16
)

// Passphrase returns a random passphrase of 80 bits, in groups: xxxx-xxxx-xxxx-xxxx. The
// page ignores case, spaces and hyphens.
func Passphrase() string {
	text := random(passphraseSize)
	for i := passphraseSize - passphraseGroup; i > 0; i -= passphraseGroup {
		text = text[:i] + "-" + text[i:]
	}
	return text
}

// seal encrypts a plan for a passphrase, and binds it to the server. Salt and result are
// in base64 of URLs. The salt is new, so the key is for one plan, and its nonce is zero.
func seal(plain []byte, passphrase, server string, rounds int) (salt, sealed string, err error) {
	var random [saltSize]byte
	rand.Read(random[:]) // never fails
	key, err := pbkdf2.Key(sha256.New, strings.ReplaceAll(passphrase, "-", ""), random[:], rounds, 32)
	if err != nil {
		return "", "", fmt.Errorf("derive the key of the page: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", "", fmt.Errorf("encrypt the page: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", "", fmt.Errorf("encrypt the page: %w", err)
	}
	b := gcm.Seal(nil, make([]byte, gcm.NonceSize()), plain, []byte("sallyport page 1, "+server))
	return base64.RawURLEncoding.EncodeToString(random[:]), base64.RawURLEncoding.EncodeToString(b), nil
}

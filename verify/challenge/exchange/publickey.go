package exchange

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxKeys is the maximum number of public keys of an operation: a response names none
// of them, so the server tries all.
const MaxKeys = 16

// PublicKey is an Ed25519 key of a client, of OpenSSH's types ssh-ed25519 and
// sk-ssh-ed25519@openssh.com.
type PublicKey struct {
	Key [ed25519.PublicKeySize]byte
	// Application is that of a security key, such as "ssh:"; empty: a plain key.
	Application string
	// Of security keys: whether a signature without a touch is accepted, and whether
	// one must prove a PIN or a fingerprint.
	NoTouch, VerifyRequired bool
}

// OpenSSH's names of the types of keys.
const (
	plainType    = "ssh-ed25519"
	securityType = "sk-ssh-ed25519@openssh.com"
)

// Sizes in bytes of responses with a signature.
const (
	SignatureSize         = ed25519.SignatureSize
	SecuritySignatureSize = SignatureSize + 1 + 4 // and the flags and the counter of the key
)

// The flags of a security key's signature.
const (
	flagTouched  = 1
	flagVerified = 4
)

// IsSecurityKey reports whether the private key is in a security key (FIDO).
func (k PublicKey) IsSecurityKey() bool { return k.Application != "" }

func (k PublicKey) responseSize() int {
	if k.IsSecurityKey() {
		return SecuritySignatureSize
	}
	return SignatureSize
}

// Type returns OpenSSH's name of the type.
func (k PublicKey) Type() string {
	if k.IsSecurityKey() {
		return securityType
	}
	return plainType
}

// Marshal returns the key in the binary form of OpenSSH.
func (k PublicKey) Marshal() []byte {
	if k.IsSecurityKey() {
		return appendStrings(nil, []byte(k.Type()), k.Key[:], []byte(k.Application))
	}
	return appendStrings(nil, []byte(k.Type()), k.Key[:])
}

// Fingerprint is SHA-256 of Marshal, as ssh-keygen -l prints it in base64.
func (k PublicKey) Fingerprint() [sha256.Size]byte { return sha256.Sum256(k.Marshal()) }

// Verifies reports whether a response is the key's signature of data, such as
// Answer.ToSign.
func (k PublicKey) Verifies(data, response []byte) bool {
	if len(response) != k.responseSize() {
		return false
	}
	signature, rest := response[:SignatureSize], response[SignatureSize:]
	if k.IsSecurityKey() {
		flags := rest[0]
		if flags&flagTouched == 0 && !k.NoTouch || flags&flagVerified == 0 && k.VerifyRequired {
			return false
		}
		application, message := sha256.Sum256([]byte(k.Application)), sha256.Sum256(data)
		data = slices.Concat(application[:], rest, message[:])
	}
	return ed25519.Verify(k.Key[:], data, signature)
}

// ParsePublicKey parses the binary form of OpenSSH, which Marshal returns.
func ParsePublicKey(b []byte) (k PublicKey, err error) {
	rest := b
	next := func() (field []byte) {
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
			rest = nil
			return nil
		}
		n := 4 + binary.BigEndian.Uint32(rest)
		field, rest = rest[4:n], rest[n:]
		return field
	}
	switch name := string(next()); name {
	case plainType, securityType:
		copy(k.Key[:], next())
		k.Application = string(next())
	default:
		return k, fmt.Errorf("expected a key of type %s or %s, got %.40q", plainType, securityType, name)
	}
	if !bytes.Equal(k.Marshal(), b) {
		return PublicKey{}, errors.New("the public key is damaged")
	}
	if k.isWeak() {
		return PublicKey{}, errWeak
	}
	return k, nil
}

// ParsePublicText parses the line of a public key as OpenSSH writes it: type, base64
// and, perhaps, a comment.
func ParsePublicText(line string) (PublicKey, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return PublicKey{}, errors.New("expected the type of a public key, and the key in base64")
	}
	b, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return PublicKey{}, errors.New("the public key is not valid base64")
	}
	k, err := ParsePublicKey(b)
	if err == nil && k.Type() != fields[0] {
		err = errors.New("the public key has another type than its line")
	}
	return k, err
}

// String returns the line that ParsePublicText parses, without a comment.
func (k PublicKey) String() string {
	return k.Type() + " " + base64.StdEncoding.EncodeToString(k.Marshal())
}

func checkKeys(keys []PublicKey) error {
	if len(keys) == 0 {
		return errors.New("expected a public key, got none")
	}
	if len(keys) > MaxKeys {
		return fmt.Errorf("expected at most %d public keys, got %d", MaxKeys, len(keys))
	}
	for i, k := range keys {
		if k.responseSize() != keys[0].responseSize() {
			return errors.New("expected public keys of one type, got ssh-ed25519 and sk-ssh-ed25519")
		}
		if k.isWeak() {
			return errWeak
		}
		same := func(o PublicKey) bool { return o.Key == k.Key && o.Application == k.Application }
		if slices.ContainsFunc(keys[:i], same) {
			return errors.New("a public key occurs twice")
		}
	}
	return nil
}

// appendStrings appends fields with their lengths, as strings of RFC 4251.
func appendStrings(dst []byte, fields ...[]byte) []byte {
	for _, f := range fields {
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(f))), f...)
	}
	return dst
}

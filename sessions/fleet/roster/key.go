package roster

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"sallyport/sessions/durable"
)

const (
	keySize   = 32
	keyPrefix = "sallyport-clients-key-"
	keyHeader = "# Seals the list of clients in etcd. All gateways have a copy. Keep it secret.\n"
	// maxKeyFile bounds a file that is no key file.
	maxKeyFile = 4 << 10
)

// Key is the content of a key file: the key that seals, and during a rotation the one
// before it, which still opens. Its text form hides both.
type Key struct{ secrets [][keySize]byte }

// Format implements fmt.Formatter.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, "[key]") }

// IDs returns a name for each key, 16 hexadecimal digits, that reveals nothing else of it.
// The first one is that of the key that seals.
func (k Key) IDs() (ids []string) {
	for _, s := range k.secrets {
		id := keyID(s)
		ids = append(ids, hex.EncodeToString(id[:]))
	}
	return ids
}

func keyID(secret [keySize]byte) [8]byte {
	return [8]byte(derive(secret, nil, "sallyport: clients key id", 8))
}

// derive returns a key for one purpose and generation.
func derive(secret [keySize]byte, salt []byte, purpose string, size int) []byte {
	b, err := hkdf.Key(sha256.New, secret[:], salt, purpose, size)
	if err != nil {
		panic(err) // only for sizes that HKDF does not have
	}
	return b
}

// NewKeyFile makes a key file with the mode 0600. An existing file is an error.
func NewKeyFile(path string) error {
	if err := durable.CreateFile(path, keyText(newSecret()), 0o600); err != nil {
		return fmt.Errorf("write the key of the list of clients: %w", err)
	}
	return nil
}

// RotateKeyFile puts a new key before the one of a key file. Reseal uses the new key once
// all gateways have the new file. A file that already has two keys is an error.
func RotateKeyFile(path string) error {
	return editKeyFile(path, func(k Key) ([][keySize]byte, error) {
		if len(k.secrets) > 1 {
			return nil, &RotationError{path}
		}
		return [][keySize]byte{newSecret(), k.secrets[0]}, nil
	})
}

// DropOldKey removes the second key of a key file, after Reseal.
func DropOldKey(path string) error {
	return editKeyFile(path, func(k Key) ([][keySize]byte, error) { return k.secrets[:1], nil })
}

func editKeyFile(path string, change func(Key) ([][keySize]byte, error)) error {
	k, err := ReadKey(path)
	if err != nil {
		return err
	}
	secrets, err := change(k)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(path, keyText(secrets...), 0o600); err != nil {
		return fmt.Errorf("write the key of the list of clients: %w", err)
	}
	return nil
}

func newSecret() (s [keySize]byte) {
	rand.Read(s[:]) // it never fails
	return s
}

func keyText(secrets ...[keySize]byte) []byte {
	b := []byte(keyHeader)
	for _, s := range secrets {
		b = append(append(append(b, keyPrefix...), hex.EncodeToString(s[:])...), '\n')
	}
	return b
}

// ReadKey reads a key file. It does not check who else can read the file.
func ReadKey(path string) (Key, error) {
	f, err := durable.OpenRegular(path) // root follows no link of another user
	if err != nil {
		return Key{}, fmt.Errorf("read the key of the list of clients: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return Key{}, fmt.Errorf("read the key of the list of clients: %w", err)
	}
	k, err := ParseKey(text)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// ParseKey parses the text of a key file. Its errors do not contain the text.
func ParseKey(text []byte) (k Key, err error) {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		digits, found := strings.CutPrefix(line, keyPrefix)
		b, err := hex.DecodeString(digits)
		if !found || err != nil || len(b) != keySize {
			return Key{}, errKeyFile
		}
		k.secrets = append(k.secrets, [keySize]byte(b))
	}
	if n := len(k.secrets); n == 0 || n > 2 || n == 2 && k.secrets[0] == k.secrets[1] {
		return Key{}, errKeyFile
	}
	return k, nil
}

var errKeyFile = errors.New("expected one or two lines of " + keyPrefix + " and 64 hexadecimal digits")

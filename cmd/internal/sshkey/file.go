package sshkey

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/verify/challenge/exchange"
)

// maxKeyFile is the maximum size of a file with a private key, in bytes.
const maxKeyFile = 64 << 10

// fileSigner has the private key in a file. It may be used concurrently.
type fileSigner struct {
	path string
	keys []exchange.PublicKey
	ask  Ask

	mu      sync.Mutex
	private ed25519.PrivateKey // nil: not read yet
}

// Prepare reads the key, and asks for its passphrase.
func (s *fileSigner) Prepare(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.private != nil {
		return nil
	}
	path, err := expand(s.path)
	if err != nil {
		return err
	}
	private, err := s.read(ctx, path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	public := exchange.PublicKey{Key: [ed25519.PublicKeySize]byte(private.Public().(ed25519.PublicKey))}
	if err := among(s.keys, public); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s.private = private
	return nil
}

func (s *fileSigner) read(ctx context.Context, path string) (ed25519.PrivateKey, error) {
	if private, public := strings.CutSuffix(path, ".pub"); public {
		return nil, hint.With(errors.New("expected the file of a private key, got that of a public one"), "set key = \""+private+"\" in the profile")
	}
	f, err := secretfile.Rules{}.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParseRawPrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		if s.ask == nil {
			return nil, errors.New("the key has a passphrase, which this command does not ask for")
		}
		passphrase, askErr := s.ask(ctx, "passphrase of key "+filepath.Base(path))
		if askErr != nil {
			return nil, askErr
		}
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(text, []byte(passphrase))
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, errors.New("wrong passphrase")
		}
	}
	if err != nil {
		// The text of the error may name what the file has.
		return nil, hint.With(errors.New("expected an Ed25519 private key in the format of OpenSSH"),
			"make one: ssh-keygen -t ed25519; a security key's file does not have the key: add it to the SSH agent, and set agent = true in place of key")
	}
	private, ok := key.(*ed25519.PrivateKey)
	if !ok || len(*private) != ed25519.PrivateKeySize {
		return nil, errors.New("expected an Ed25519 private key, got one of another type")
	}
	return *private, nil
}

// Sign implements client.KeySigner.
func (s *fileSigner) Sign(_ context.Context, data []byte) ([]byte, error) {
	if err := checkData(data); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.private == nil {
		return nil, errors.New("the key is not prepared")
	}
	return ed25519.Sign(s.private, data), nil
}

// expand replaces ~/ at the beginning of a path.
func expand(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, rest), err
}

// Fingerprint returns the fingerprint of a key as ssh-keygen -l prints it.
func Fingerprint(k exchange.PublicKey) string {
	sum := k.Fingerprint()
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

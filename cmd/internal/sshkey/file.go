package sshkey

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/textfile"
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
	text, err := readKeyFile(path)
	if err != nil {
		return err
	}
	private, err := s.parse(ctx, path, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s.private = private
	return nil
}

// readKeyFile returns the text of a file that only this user may read. The error names
// the file.
func readKeyFile(path string) ([]byte, error) {
	f, err := secretfile.OpenAny(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.With(err, "set key in the profile to the file of your private key, such as ~/.ssh/id_ed25519; or agent = true in its place")
	case errors.Is(err, fs.ErrPermission):
		return nil, hint.With(err, "the file, or a directory above it, belongs to another user")
	case err != nil:
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s: expected the file of a private key, at most %d bytes, got more", path, maxKeyFile)
	}
	if err == nil {
		text, err = textfile.Decode(path, text)
	}
	if err != nil {
		return nil, err
	}
	if err := refusePublic(path, text); err != nil { // which others may read
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, secretfile.Rules{}.Check(path, f)
}

// parse returns the key of a file. It asks for no passphrase of a key that the server does
// not know.
func (s *fileSigner) parse(ctx context.Context, path string, text []byte) (ed25519.PrivateKey, error) {
	private, public, err := parsePrivate(text, nil)
	if errors.Is(err, errPassphrase) {
		if public != (exchange.PublicKey{}) {
			if err := s.known(path, public); err != nil {
				return nil, err
			}
		}
		if s.ask == nil {
			return nil, errors.New("the key has a passphrase, which this command does not ask for")
		}
		passphrase, askErr := s.ask(ctx, "passphrase of key "+filepath.Base(path))
		if askErr != nil {
			return nil, askErr
		}
		private, public, err = parsePrivate(text, []byte(passphrase))
	}
	if err != nil {
		return nil, err
	}
	return private, s.known(path, public)
}

// known returns an error unless the server knows a key.
func (s *fileSigner) known(path string, k exchange.PublicKey) error {
	if among(s.keys, k) {
		return nil
	}
	var others []string
	for _, k := range s.keys {
		others = append(others, Fingerprint(k))
	}
	return hint.With(fmt.Errorf("the key %s is none of public_keys in the profile", Fingerprint(k)),
		"the server knows "+strings.Join(others, ", ")+"; set key to the file of such a key, or send the public key, "+path+".pub, to the server's administrator")
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

// Package profile reads and stores the commands' profiles, and defines where the client
// stores them and its nonces. Package profilefile has their form.
package profile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/cmd/internal/textfile"
	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/client"
	"sallyport/sessions/client/profilefile"
)

// Load reads a profile by the path of its file, or by its name. The file of a
// name is NAME.toml in the user's config directory. A path contains a separator
// or ends in .toml.
func Load(nameOrPath string) (client.Profile, error) {
	return Reader{}.Load(context.Background(), nameOrPath)
}

// Read returns the content of a profile, which Load accepts.
func read(nameOrPath string) (path string, data []byte, err error) {
	if path, err = locate(nameOrPath); err != nil {
		return "", nil, err
	}
	f, err := secretfile.OpenAny(path)
	if errors.Is(err, fs.ErrNotExist) && path != nameOrPath {
		return "", nil, hint.With(fmt.Errorf("no profile %q: %w", nameOrPath, err),
			"list the names: sallyport profile list\nprofiles with a name are in "+filepath.Dir(path)+
				"; for a file elsewhere, give its path, such as ./"+nameOrPath)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, hint.With(err, "give the path of a profile, or its name (list the names: sallyport profile list)")
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", nil, hint.With(err, "the file, or a directory above it, belongs to another user: "+
			"run the command as that user, or give the path of a profile of this user")
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	if data, err = io.ReadAll(f); err != nil {
		return "", nil, fmt.Errorf("read the profile: %w", err)
	}
	if data, err = textfile.Decode(path, data); err != nil {
		return "", nil, err
	}
	// Other users may read a profile of public keys, or with secret_files = "shared", and
	// change none.
	// Parse reports an invalid profile.
	var says struct {
		SecretFiles string `toml:"secret_files"`
	}
	toml.Unmarshal(data, &says)
	shared := says.SecretFiles == profilefile.Shared || !HasSecrets(data)
	if err := (secretfile.Rules{Shared: shared}).Check(path, f); err != nil {
		return "", nil, err
	}
	return path, data, nil
}

// HasSecrets reports whether the text of a profile has secrets, or may have some.
func HasSecrets(text []byte) bool {
	f, err := decode(text)
	return err != nil || f.Challenge == nil || !f.Challenge.Signed() || f.HasSecrets()
}

func locate(nameOrPath string) (string, error) {
	if isPath(nameOrPath) {
		return nameOrPath, nil
	}
	return pathOf(nameOrPath)
}

// Parse reads the text of a profile. Errors name path, the line, the key and the
// expected value.
func Parse(path string, data []byte) (client.Profile, error) {
	return parse(path, data, profilefile.Held{})
}

// parse is Parse for a device that holds secrets elsewhere.
func parse(path string, data []byte, held profilefile.Held) (client.Profile, error) {
	if isLocked(data) {
		return client.Profile{}, lockedError(path)
	}
	if err := namesPrograms(path, data); err != nil {
		return client.Profile{}, err
	}
	if err := tomlfile.CheckVersion(path, data, profilefile.Version, "sallyport", profilefile.NewerHint); err != nil {
		return client.Profile{}, err
	}
	raw := profilefile.New()
	f, err := tomlfile.Decode(path, data, &raw)
	if err != nil {
		return client.Profile{}, err
	}
	return raw.ProfileHeld(f, held)
}

// ValidServer reports whether s is a valid host name or address of a server,
// without a port.
func ValidServer(s string) bool { return client.ValidHost(s) }

// Nonces returns the nonce file of a profile, in the user's state directory. Its name
// depends on the secret, so this may be the first use of a program that holds it.
func Nonces(ctx context.Context, p client.Profile) (client.NonceFile, error) {
	dirs, err := stateDirs()
	if err != nil {
		return client.NonceFile{}, fmt.Errorf("find the user's state directory: %w", err)
	}
	name, earlier, err := profilefile.NonceNames(ctx, p)
	if err != nil {
		return client.NonceFile{}, err
	}
	drawn, err := client.DrawNonce()
	if err != nil {
		return client.NonceFile{}, err
	}
	return client.NonceFile{
		Path: filepath.Join(existing(dirs, name, earlier), name), Earlier: filepath.Join(existing(dirs, earlier), earlier),
		First: p.FirstNonce, Drawn: drawn,
	}, nil
}

// Gateways returns the path of the file in which the client remembers gateways, in the
// user's state directory.
func Gateways() (string, error) {
	dirs, err := stateDirs()
	if err != nil {
		return "", fmt.Errorf("find the user's state directory: %w", err)
	}
	const name = "gateways"
	return filepath.Join(existing(dirs, name), name), nil
}

// Carriers returns the file in which the client remembers carriers, in the user's state
// directory.
func Carriers() (client.CarrierFile, error) {
	dirs, err := stateDirs()
	if err != nil {
		return client.CarrierFile{}, fmt.Errorf("find the user's state directory: %w", err)
	}
	const name = "carriers"
	return client.CarrierFile{Path: filepath.Join(existing(dirs, name), name)}, nil
}

package profile

import (
	"bytes"
	"context"
	"fmt"

	"sallyport/cmd/internal/hint"
)

// lockedHeader begins a profile that is locked by a passphrase: see package passphrase.
const lockedHeader = "-----BEGIN AGE ENCRYPTED FILE-----"

// Locker opens and locks the texts of profiles. It keeps the passphrase of a profile, so
// that a person enters it once.
type Locker interface {
	// Unlock returns the text of a locked profile. The path is for messages.
	Unlock(ctx context.Context, path string, locked []byte) (text []byte, err error)
	// Lock locks a text by the passphrase of the profile, or asks for a new one.
	Lock(ctx context.Context, path string, text []byte) (locked []byte, err error)
}

func isLocked(text []byte) bool { return bytes.HasPrefix(text, []byte(lockedHeader)) }

// IsLocked reports whether a profile is locked.
func IsLocked(nameOrPath string) (path string, locked bool, err error) {
	path, data, err := read(nameOrPath)
	return path, isLocked(data), err
}

// lockedError returns the error of a locked profile that cannot be opened here.
func lockedError(path string) error {
	return hint.With(fmt.Errorf("%s: expected a profile, got one that is locked by a passphrase", path),
		"open it first: age --decrypt, or \"sallyport profile unlock NAME\" where it is stored")
}

// open returns the text of a profile, and whether its file is locked.
func (r Reader) open(ctx context.Context, nameOrPath string) (path string, text []byte, locked bool, err error) {
	path, text, err = read(nameOrPath)
	if err != nil || !isLocked(text) {
		return path, text, false, err
	}
	if r.Locker == nil {
		return path, nil, true, lockedError(path)
	}
	text, err = r.Locker.Unlock(ctx, path, text)
	return path, text, true, err
}

// SetLocked locks or unlocks a stored profile. The file is replaced at once: at no time is
// there another one with the text.
func (r Reader) SetLocked(ctx context.Context, name string, lock bool) (path string, err error) {
	if _, err := pathOf(name); err != nil {
		return "", err
	}
	path, is, err := IsLocked(name)
	switch {
	case err != nil:
		return "", err
	case lock && is:
		return "", hint.With(fmt.Errorf("profile %q is locked already", name), "for another passphrase, unlock it first: sallyport profile unlock "+name)
	case !lock && !is:
		return "", fmt.Errorf("profile %q is not locked", name)
	}
	_, _, text, err := r.load(ctx, name, true)
	if err != nil {
		return "", err
	}
	return path, r.store(ctx, path, text, lock)
}

package roster

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/sessions/fleet/cluster"
)

// ErrNone is the error of an etcd that has no list of clients.
var ErrNone error = none{}

type none struct{}

func (none) Error() string { return "there is no list of clients in etcd" }

// Hint returns a remedy.
func (none) Hint() string {
	return "write it: sallyportd client import FILE; if there was a list before, etcd has lost it, or another program has removed it"
}

// ErrChanged is the error of ReplaceAt if the list is no longer the named version.
var ErrChanged = errors.New("the list of clients has been changed meanwhile")

// ErrReplacing is the error of Replace if another Replace has begun since.
var ErrReplacing = errors.New("another command replaces the list of clients at the same time")

// KeyError is the error of a list that is sealed with a key that the key file does not
// have.
type KeyError struct {
	Found string   // the ID of the key of the list
	Have  []string // those of the key file
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("the list of clients is sealed with the key %s, the key file has %s", e.Found, strings.Join(e.Have, " and "))
}

// Hint returns a remedy.
func (e *KeyError) Hint() string {
	return "copy the key file from a gateway that reads the list, if this host does not have that file yet, then: sallyportd reload; if no key file has that key, " +
		"remove the key clients/list from etcd, and write the list again: sallyportd client import FILE"
}

// RotationError is the error of a key file that has two keys, and would get a third one.
type RotationError struct{ Path string }

func (e *RotationError) Error() string {
	return e.Path + ": expected one key, there are two: a rotation is not complete"
}

// Hint returns a remedy.
func (e *RotationError) Hint() string {
	return "when all gateways have read the file, at one of them: sallyportd fleet-key reseal; then, at each: sallyportd fleet-key drop"
}

// AlteredError is the error of a list that no editor has written.
type AlteredError struct{ What string }

func (e *AlteredError) Error() string {
	return "the list of clients in etcd was altered without its key: " + e.What
}

// Hint returns a remedy.
func (e *AlteredError) Hint() string {
	return "find out which user of etcd has written below clients/; then write the list again from a clients file that you trust: sallyportd client import --replace FILE"
}

// newer is the error of a list that a later release has written. No command of this release
// replaces it.
func newer(version byte) error {
	return fmt.Errorf("read the list of clients: %w", &cluster.VersionError{
		Found: int(version), Latest: manifestFormat, Remedy: "run the same release at all gateways; to go back with all of them, " +
			"remove the key clients/list from etcd, and write the list again: sallyportd client import FILE",
	})
}

// NotNewerError is the error of a list that does not follow the one that this gateway has
// applied.
type NotNewerError struct {
	Version uint64 // of the list in etcd
	Applied uint64 // by this gateway
}

func (e *NotNewerError) Error() string {
	if e.Version > e.Applied {
		return fmt.Sprintf("version %d of the list of clients in etcd does not follow version %d, which this gateway has applied", e.Version, e.Applied)
	}
	return fmt.Sprintf("etcd went back to version %d of the list of clients, this gateway has applied version %d", e.Version, e.Applied)
}

// Hint returns a remedy.
func (e *NotNewerError) Hint() string {
	return "if etcd was restored from a backup: \"sallyportd client accept\" at each gateway accepts its list, " +
		"\"sallyportd client import --replace FILE\" at one writes another for all; otherwise an attacker writes to etcd"
}

// ApplyError is the error of a list that the gateway could not apply.
type ApplyError struct {
	Version uint64
	Err     error // of the function that Follow got
}

func (e *ApplyError) Error() string {
	return fmt.Sprintf("apply version %d of the list of clients: %v", e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *ApplyError) Unwrap() error { return e.Err }

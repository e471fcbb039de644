package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"sallyport/sessions/durable"
	"sallyport/verify"
)

// UsesFileName is the name of the file that counts how often operations with a limit
// were used. It is not the file of nonces: that one may be relaxed, and must be reset
// so that each readable nonce stays. Here, what is not known must count as used up.
const UsesFileName = "operation-uses"

// MaxUses is the maximum number of counts in the file, those of former operations and
// secrets included.
const MaxUses = 4096

// UseKey is what a count belongs to: an operation with another secret is another one.
type UseKey struct {
	Operation string // its ID
	Secret    verify.Fingerprint
}

// Use is how often an operation was used.
type Use struct {
	UseKey
	Used uint32
	// Unknown: the record was lost, so the operation may have been used up.
	Unknown bool
}

// LeftOf returns how many of n uses are left.
func (u Use) LeftOf(n int) int {
	if u.Unknown {
		return 0
	}
	return max(n-int(u.Used), 0)
}

// NoUsesError is the error if there is no record. Every start of a server makes one.
type NoUsesError struct{ Path string }

func (e *NoUsesError) Error() string { return "there is no record of uses " + e.Path }
func (e *NoUsesError) Unwrap() error { return fs.ErrNotExist }

// CopiedError is the error of a record that is a copy, for example of a backup: uses
// after the copy was made are not in it.
type CopiedError struct{ Path string }

func (e *CopiedError) Error() string {
	return fmt.Sprintf("the record of uses %s is a copy of another file, which may lack the latest uses", e.Path)
}

// usesError is an error of the file of uses, whose remedies are not those of the
// nonces' file.
type usesError struct{ err error }

func (e *usesError) Error() string { return e.err.Error() }
func (e *usesError) Unwrap() error { return e.err }

// Hint returns a remedy.
func (e *usesError) Hint() string {
	var newer *NewerError
	if errors.As(e.err, &newer) {
		return "run the release that wrote the file, or a later one"
	}
	return "operations with a limit of uses stay unavailable; to count from zero: sallyportd operation reset ID"
}

// ReadUses reads the counts, those of a CopiedError too. No file is a NoUsesError, a
// file that is not whole a DamagedError, and one of a later release a NewerError. A
// server may write the file meanwhile.
func ReadUses(dir string) ([]Use, error) {
	path := filepath.Join(dir, UsesFileName)
	content, id, err := readIdentified(path, maxUsesFile)
	var list []Use
	var written durable.Identity
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &usesError{&NoUsesError{path}}
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	case err == nil:
		list, written, err = decodeUses(content)
	}
	var newer *NewerError
	switch {
	case errors.As(err, &newer):
		newer.Path = path
		return nil, &usesError{newer}
	case err != nil:
		return nil, &usesError{&DamagedError{path, err}}
	case written != id:
		return list, &usesError{&CopiedError{path}}
	}
	return list, nil
}

// WriteUses replaces the counts. When it returns nil, they are on stable storage. The
// caller must have the lock of the directory. After an error, the file has the old
// counts, or the new ones, and a power failure may change which.
func WriteUses(dir string, list []Use) error {
	return durable.WriteFileOf(filepath.Join(dir, UsesFileName), func(id durable.Identity) ([]byte, error) {
		return encodeUses(list, id)
	}, 0o600)
}

// EditUses changes the counts while no server runs: f gets what ReadUses returned, and
// returns the new counts. If a process has the lock of the directory, the error is a
// LockedError.
func EditUses(ctx context.Context, dir string, f func([]Use, error) ([]Use, error)) error {
	lock, err := takeLock(ctx, dir, lockWait)
	if err != nil {
		return err
	}
	defer lock.Close()
	list, err := f(ReadUses(dir))
	if err != nil {
		return err
	}
	return WriteUses(dir, list)
}

// AfterLoss returns the counts after ReadUses has failed: those that are readable, and
// the present operations, may all be too low.
func AfterLoss(readable []Use, present []UseKey) []Use {
	list := slices.Clone(readable)
	for _, k := range present {
		if !slices.ContainsFunc(list, func(u Use) bool { return u.UseKey == k }) {
			list = append(list, Use{UseKey: k})
		}
	}
	for i := range list {
		list[i].Unknown = true
	}
	return trimUses(list, present)
}

// SetUse sets a count, and returns the changed list. If there is no room, it removes
// the oldest counts of operations that are not present: their secrets were replaced
// by thousands of others since.
func SetUse(list []Use, next Use, present []UseKey) []Use {
	list = slices.Clone(list)
	if i := slices.IndexFunc(list, func(u Use) bool { return u.UseKey == next.UseKey }); i >= 0 {
		list[i] = next
		return list
	}
	return trimUses(append(list, next), append(slices.Clone(present), next.UseKey))
}

func trimUses(list []Use, present []UseKey) []Use {
	for more := len(list) - MaxUses; more > 0; more-- {
		i := slices.IndexFunc(list, func(u Use) bool { return !slices.Contains(present, u.UseKey) })
		if i < 0 {
			break // WriteUses refuses the list
		}
		list = slices.Delete(list, i, i+1)
	}
	return list
}

// readIdentified reads a file of at most so many bytes, with its identity.
func readIdentified(path string, limit int64) (content []byte, id durable.Identity, err error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, id, err
	}
	defer f.Close()
	if id, err = durable.IdentityOf(f); err != nil {
		return nil, id, err
	}
	content, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("expected at most %d bytes, got more", limit)
	}
	return content, id, err
}

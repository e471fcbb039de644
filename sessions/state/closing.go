package state

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sallyport/sessions/durable"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// ClosingFileName is the name of the file with the closing commands that must still
// run: of leases whose opening command may have begun. If a part of it is damaged, the
// rest is used: each command closes something.
const ClosingFileName = "closing-commands"

// MaxClosing is the maximum number of commands in the file.
const MaxClosing = 4096

// Closing is a closing command that must still run, with the lease that it is for.
type Closing struct {
	ID        uint64 // random, of the lease: no other one of this time has it
	Service   string
	Client    wire.Identifier // zero: the operation belongs to no client
	Operation string          // empty: knocks have opened the lease
	Address   netip.Addr      // that has knocked
	Peer      access.Peer     // that the lease admits
	Port      uint16          // random or drawn; 0: the service's own
	Since     time.Time       // when the lease began, by the wall clock; whole seconds are kept
	Until     time.Time       // when the lease ends, as it was when it began; zero: when it is closed
}

// ReadClosing reads the closing commands that must still run. No file means that there
// are none. With a DamagedError, it returns those that are readable. A file of a later
// release is a NewerError. A server may write the file meanwhile.
func ReadClosing(dir string) ([]Closing, error) {
	path := filepath.Join(dir, ClosingFileName)
	content, err := readBounded(path, maxClosingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []Closing
	if err == nil {
		list, err = decodeClosing(content)
	}
	var newer *NewerError
	switch {
	case err == nil:
		return list, nil
	case errors.As(err, &newer):
		newer.Path = path
		return nil, &closingError{newer}
	}
	return list, &closingError{&DamagedError{path, err}}
}

// closingError is an error of the file of closing commands, whose remedies are not
// those of the nonces' file.
type closingError struct{ err error }

func (e *closingError) Error() string { return e.err.Error() }
func (e *closingError) Unwrap() error { return e.err }

// Hint returns a remedy.
func (e *closingError) Hint() string {
	return "the next start runs the commands that are readable, and keeps the file beside a new one; " +
		"check by hand what the on_close commands of the others would have closed"
}

// WriteClosing replaces the commands of the file, or removes the file if there are
// none. When it returns nil, they are on stable storage. The caller must have the lock
// of the directory. After an error, the file has the old commands, or the new ones, and
// a power failure may change which.
func WriteClosing(dir string, list []Closing) error {
	path := filepath.Join(dir, ClosingFileName)
	if len(list) == 0 {
		if err := durable.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return durable.AsOwner(path, func(path string) error { return durable.SyncDirectory(filepath.Dir(path)) })
	}
	content, err := encodeClosing(list)
	if err != nil {
		return err
	}
	return durable.WriteFile(path, content, 0o600)
}

// KeepClosing gives the file a second name, so that its content stays when it is
// replaced: it is damaged, or of another release. If the kernel refuses that, as it may
// for the file of another user, the file gets another name. It returns the new path.
func KeepClosing(dir string, now time.Time) (aside string, err error) {
	path := filepath.Join(dir, ClosingFileName)
	aside = path + now.UTC().Format(".20060102T150405.000Z")
	return aside, durable.AsOwner(path, func(path string) error {
		to := filepath.Join(filepath.Dir(path), filepath.Base(aside))
		if os.Link(path, to) != nil {
			return durable.Rename(path, to)
		}
		return durable.SyncDirectory(filepath.Dir(path))
	})
}

// ClosingRecord is the file of a state directory. The caller must have the lock of the
// directory. It implements program.Record.
type ClosingRecord struct {
	Dir string
	Now func() time.Time // by the wall clock, for the name of a damaged file; nil: time.Now
}

// Read is ReadClosing, and keeps a file that is not whole under another name.
func (r ClosingRecord) Read() ([]Closing, error) {
	list, err := ReadClosing(r.Dir)
	if err != nil {
		now := time.Now
		if r.Now != nil {
			now = r.Now
		}
		aside, keepErr := KeepClosing(r.Dir, now())
		if keepErr != nil {
			return list, errors.Join(err, keepErr)
		}
		err = fmt.Errorf("%w; the file is kept as %s", err, aside)
	}
	return list, err
}

// Write is WriteClosing.
func (r ClosingRecord) Write(list []Closing) error { return WriteClosing(r.Dir, list) }

// salvageClosing writes a file that is not whole again, with the commands that are
// readable, and keeps the old one. It returns how many commands must still run. The
// caller must have the lock of the directory.
func salvageClosing(dir string, now time.Time) (left int, err error) {
	list, err := ReadClosing(dir)
	var newer *NewerError
	if err == nil || errors.As(err, &newer) {
		return len(list), err
	}
	if _, err := KeepClosing(dir, now); err != nil {
		return 0, err
	}
	return len(list), WriteClosing(dir, list)
}

package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"sallyport/sessions"
)

// forms read what a file of each form holds. Open writes one of an earlier
// form anew.
var forms = map[uint32]func(header []byte, raw []entry) (contents, error){
	1:       decodeForm1,
	version: decodeForm,
}

// contents is what a sound file holds.
type contents struct {
	version uint32
	header  header
	until1  uint32           // a file of form 1 has: up to when it was doubted
	entries []sessions.Entry // in the order of their identifiers
	leases  []Lease          // in the order of their keys
}

// DamagedError says that a state file cannot be trusted.
type DamagedError struct {
	Path string
	err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the state file %s is damaged: %v", e.Path, e.err)
}

func (e *DamagedError) Unwrap() error { return e.err }

// Hint says what to do.
func (e *DamagedError) Hint() string {
	return "\"sallyportd state export\" prints what is still readable, and \"sallyportd state reset\" begins a new file with it, and keeps this one beside it\nor put back a copy from a backup, and start a minute after the server last ran: nonces used since then are not in it"
}

// NewerError says that a later release wrote the file.
type NewerError struct {
	Path    string
	Version uint32
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("the state file %s has form %d, this release knows forms up to %d", e.Path, e.Version, version)
}

// Hint says what to do.
func (e *NewerError) Hint() string {
	return "run the release that wrote it, or a later one; \"sallyportd state reset --empty\" begins without its nonces"
}

// readFile reads a file whole and checks all of it. The file must not change
// meanwhile.
func readFile(path string) (c *contents, err error) {
	err = withFile(path, func(f io.ReaderAt, size int64) error {
		c, err = inspect(f, size, path)
		return err
	})
	return c, err
}

func withFile(path string, use func(io.ReaderAt, int64) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return use(f, info.Size())
}

// inspect is read, with errors that name the file.
func inspect(file io.ReaderAt, size int64, name string) (*contents, error) {
	c, err := read(file, size)
	switch newer := (*NewerError)(nil); {
	case errors.As(err, &newer):
		newer.Path = name
	case err != nil: // what the disk does not give back is damaged, too
		err = &DamagedError{name, err}
	}
	return c, err
}

// read checks all of a file's content.
func read(file io.ReaderAt, size int64) (*contents, error) {
	r, root, err := newReader(file, size)
	if err != nil {
		return nil, err
	}
	var bucket []byte
	if err := r.walk(root, nil, nil, func(e entry) error {
		if !e.bucket || !bytes.Equal(e.key, bucketName) {
			return errForeign
		}
		bucket = e.value
		return nil
	}); err != nil {
		return nil, err
	}
	var versionValue, headerValue []byte
	var raw []entry
	if err := r.walkBucket(bucket, func(e entry) error {
		switch {
		case e.bucket:
			return errors.New("there is a bucket where none belongs")
		case bytes.Equal(e.key, versionKey):
			versionValue = e.value
		case bytes.Equal(e.key, headerKey):
			headerValue = e.value
		default:
			raw = append(raw, e)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(versionValue) != 4 {
		return nil, errors.New("it does not say which form it has")
	}
	form := binary.BigEndian.Uint32(versionValue)
	decode, known := forms[form]
	switch {
	case form > version:
		return nil, &NewerError{Version: form}
	case !known:
		return nil, fmt.Errorf("it has form %d, which there never was", form)
	}
	c, err := decode(headerValue, raw)
	if err != nil {
		return nil, err
	}
	c.version = form
	return &c, nil
}

// decodeForm reads a file of this form.
func decodeForm(headerValue []byte, raw []entry) (c contents, err error) {
	if c.header, err = decodeHeader(headerValue); err != nil {
		return c, err
	}
	return c, c.fill(raw, true)
}

// fill decodes records, and leases if there may be any.
func (c *contents) fill(raw []entry, leases bool) error {
	var digest uint64
	for _, e := range raw {
		if leases && isLease(e.key) {
			l, err := decodeLease(e.key, e.value)
			if err != nil {
				return err
			}
			c.leases = append(c.leases, l)
		} else {
			record, err := decodeRecord(e.key, e.value)
			if err != nil {
				return err
			}
			c.entries = append(c.entries, record)
		}
		digest ^= sumOf(e.value)
	}
	if uint64(len(raw)) != c.header.count || digest != c.header.digest {
		return fmt.Errorf("its %d records are not the %d that its header counts", len(raw), c.header.count)
	}
	return nil
}

// walkBucket visits a bucket's entries. A small one is a page within the value
// that else leads to its page.
func (r *reader) walkBucket(bucket []byte, visit func(entry) error) error {
	if len(bucket) < bucketSize {
		return errors.New("it has no bucket")
	}
	if root := native.Uint64(bucket); root != 0 {
		return r.walk(root, nil, nil, visit)
	}
	page := bucket[bucketSize:]
	if len(page) < pageHeaderSize || native.Uint16(page[8:]) != leafPage {
		return errors.New("its bucket is cut short")
	}
	return r.walkPage(page, nil, nil, visit)
}

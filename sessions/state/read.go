package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"sallyport/sessions"
	"sallyport/sessions/durable"
)

// decoders decode a file of each format. Open writes a file of an earlier format
// again.
var decoders = map[uint32]func(header []byte, raw []entry) (contents, error){
	1:       decodeForm1,
	2:       decodeForm2,
	version: decodeForm,
}

// contents is the content of a file that has passed all checks.
type contents struct {
	version    uint32
	header     header
	form1Until uint32           // of format 1: the time up to which the file was doubted
	entries    []sessions.Entry // in the order of their keys, as the others
	removed    []removed
	leases     []Lease
}

// DamagedError is the error for a state file that has not passed the checks.
type DamagedError struct {
	Path string
	err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the state file %s is damaged: %v", e.Path, e.err)
}

func (e *DamagedError) Unwrap() error { return e.err }

// Hint returns a remedy.
func (e *DamagedError) Hint() string {
	return "\"sallyportd state export\" prints all readable records, and \"sallyportd state reset\" " +
		"makes a new file with them and keeps this one\n" +
		"or restore the file from a backup, and start a minute after the server last ran: " +
		"the backup lacks the nonces used since"
}

// NewerError is the error for a file that a later release wrote.
type NewerError struct {
	Path    string
	Version uint32
	Latest  uint32 // the latest version of this file that this release reads
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("the state file %s has format %d, this release reads formats up to %d",
		e.Path, e.Version, e.Latest)
}

// Hint returns a remedy.
func (e *NewerError) Hint() string {
	return fmt.Sprintf("run the release that wrote the file, or a later one; the way back to this one: "+
		"\"sallyportd state export --format %d --out nonces.db\" of that release; "+
		"\"sallyportd state reset --empty\" makes a new file without its nonces", e.Latest)
}

// readFile reads and checks a whole file. The file must not change meanwhile.
func readFile(path string) (c *contents, err error) {
	err = withFile(path, func(f io.ReaderAt, size int64) error {
		c, err = inspect(f, size, path)
		return err
	})
	return c, err
}

func withFile(path string, use func(io.ReaderAt, int64) error) error {
	f, err := durable.Open(path)
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

// inspect is read, with the name of the file in errors.
func inspect(file io.ReaderAt, size int64, name string) (*contents, error) {
	c, err := read(file, size)
	switch newer := (*NewerError)(nil); {
	case errors.As(err, &newer):
		newer.Path = name
	case err != nil: // a file that the disk cannot read is damaged too
		err = &DamagedError{name, err}
	}
	return c, err
}

// read reads and checks the whole content of a file.
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
			return errors.New("it has an unexpected bucket")
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
		return nil, errors.New("it has no format version")
	}
	form := binary.BigEndian.Uint32(versionValue)
	decode, known := decoders[form]
	switch {
	case form > version:
		return nil, &NewerError{Version: form, Latest: version}
	case !known:
		return nil, fmt.Errorf("it has the unknown format %d", form)
	}
	c, err := decode(headerValue, raw)
	if err != nil {
		return nil, err
	}
	// After a write that failed, the next one has the same number, and may replace
	// pages of the first: an equal number is enough.
	if form > 1 && c.header.transaction < native.Uint64(bucket[8:]) {
		return nil, errors.New("its records are those of an earlier transaction")
	}
	c.version = form
	return &c, nil
}

// decodeForm decodes a file of this format.
func decodeForm(headerValue []byte, raw []entry) (c contents, err error) {
	if c.header, err = decodeHeader(headerValue); err != nil {
		return c, err
	}
	return c, c.fill(raw)
}

// fill decodes records and leases, and compares them with the header.
func (c *contents) fill(raw []entry) error {
	var digest uint64
	for _, e := range raw {
		if err := c.add(e.key, e.value); err != nil {
			return err
		}
		digest ^= sumOf(e.value)
	}
	if uint64(len(raw)) != c.header.count || digest != c.header.digest {
		return fmt.Errorf("its %d records do not match the count (%d) or the digest of its header",
			len(raw), c.header.count)
	}
	return nil
}

// add decodes a value and adds it.
func (c *contents) add(key, value []byte) error {
	switch {
	case isLease(key):
		l, err := decodeLease(key, value)
		if err != nil {
			return err
		}
		c.leases = append(c.leases, l)
	case isRemoved(key):
		r, err := decodeRemoved(key, value)
		if err != nil {
			return err
		}
		c.removed = append(c.removed, r)
	default:
		e, err := decodeRecord(key, value)
		if err != nil {
			return err
		}
		c.entries = append(c.entries, e)
	}
	return nil
}

// walkBucket visits a bucket's entries. The value of a small bucket contains its
// page; other values point to a page.
func (r *reader) walkBucket(bucket []byte, visit func(entry) error) error {
	if len(bucket) < bucketSize {
		return errors.New("it has no bucket")
	}
	if root := native.Uint64(bucket); root != 0 {
		return r.walk(root, nil, nil, visit)
	}
	page := bucket[bucketSize:]
	if len(page) < pageHeaderSize || native.Uint16(page[8:]) != leafPage {
		return errors.New("its bucket is truncated")
	}
	return r.walkPage(page, nil, nil, visit)
}

package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// reader reads the pages of a file that may be damaged in any way. It terminates
// on every input, because it reads no page twice.
type reader struct {
	file    io.ReaderAt
	pages   uint64
	visited []bool
}

// newReader checks both meta pages. A crash never damages one of them. bbolt would
// use the other one instead, and so lose the last transaction.
func newReader(file io.ReaderAt, size int64) (*reader, uint64, error) {
	head := make([]byte, 2*pageSize)
	if n, err := file.ReadAt(head, 0); n < len(head) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("expected a file of %d bytes or more, got %d bytes", len(head), n)
		}
		return nil, 0, err
	}
	var newest meta
	for i := range 2 {
		m, err := parseMeta(head[i*pageSize:][:pageSize])
		if err != nil {
			return nil, 0, fmt.Errorf("page %d: %w", i, err)
		}
		if m.transaction >= newest.transaction {
			newest = m
		}
	}
	if newest.pages > uint64(size)/pageSize {
		return nil, 0, fmt.Errorf("expected a file of %d pages of %d bytes, got %d bytes", newest.pages, pageSize, size)
	}
	return &reader{file, newest.pages, make([]bool, newest.pages)}, newest.root, nil
}

// page reads a page and its overflow pages.
func (r *reader) page(id uint64) ([]byte, error) {
	if id < 2 || id >= r.pages {
		return nil, fmt.Errorf("page %d does not exist: the file has %d pages", id, r.pages)
	}
	head := make([]byte, pageHeaderSize)
	if _, err := r.file.ReadAt(head, int64(id)*pageSize); err != nil {
		return nil, err
	}
	last := id + uint64(native.Uint32(head[12:]))
	if native.Uint64(head) != id || last >= r.pages {
		return nil, fmt.Errorf("page %d has a wrong header", id)
	}
	for i := id; i <= last; i++ {
		if r.visited[i] {
			return nil, fmt.Errorf("page %d is in the tree twice", i)
		}
		r.visited[i] = true
	}
	page := make([]byte, (last-id+1)*pageSize)
	_, err := r.file.ReadAt(page, int64(id)*pageSize)
	return page, err
}

// entry is a key and its value in a leaf page.
type entry struct {
	key, value []byte
	bucket     bool
}

// walk visits the entries of the tree below a page in the order of their keys. The
// keys must be in ascending order, from low to below high (nil: no bound).
func (r *reader) walk(id uint64, low, high []byte, visit func(entry) error) error {
	page, err := r.page(id)
	if err != nil {
		return err
	}
	if err := r.walkPage(page, low, high, visit); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

var errOrder = errors.New("its keys are out of order")

func (r *reader) walkPage(page, low, high []byte, visit func(entry) error) error {
	switch native.Uint16(page[8:]) {
	case leafPage:
		return eachLeaf(page, func(e entry) error {
			if !within(e.key, low, high) {
				return errOrder
			}
			low = append(append([]byte(nil), e.key...), 0) // the lowest key after this one
			return visit(e)
		})
	case branchPage:
		keys, children, err := branches(page)
		if err != nil {
			return err
		}
		for i, child := range children {
			until := high
			if i+1 < len(keys) {
				until = keys[i+1]
			}
			if !within(keys[i], low, high) || i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 {
				return errOrder
			}
			if err := r.walk(child, keys[i], until, visit); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("it is neither a branch nor a leaf")
}

func within(key, low, high []byte) bool {
	return bytes.Compare(key, low) >= 0 && (high == nil || bytes.Compare(key, high) < 0)
}

// eachLeaf visits the entries of a leaf page.
func eachLeaf(page []byte, visit func(entry) error) error {
	for i := range int(native.Uint16(page[10:])) {
		e, err := leafEntry(page, i)
		if err == nil {
			err = visit(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func leafEntry(page []byte, i int) (e entry, err error) {
	b, err := element(page, i)
	if err != nil {
		return e, err
	}
	from, length := uint64(native.Uint32(b[4:])), uint64(native.Uint32(b[8:]))
	if e.key, err = slice(b, from, length); err != nil {
		return e, err
	}
	e.value, err = slice(b, from+length, uint64(native.Uint32(b[12:])))
	e.bucket = native.Uint32(b)&bucketEntry != 0
	return e, err
}

func branches(page []byte) (keys [][]byte, children []uint64, err error) {
	for i := range int(native.Uint16(page[10:])) {
		b, err := element(page, i)
		if err != nil {
			return nil, nil, err
		}
		key, err := slice(b, uint64(native.Uint32(b)), uint64(native.Uint32(b[4:])))
		if err != nil {
			return nil, nil, err
		}
		keys, children = append(keys, key), append(children, native.Uint64(b[8:]))
	}
	if len(children) == 0 {
		return nil, nil, errors.New("it is a branch without children")
	}
	return keys, children, nil
}

// element returns a page from its i-th element on. The offsets in the element
// count from there.
func element(page []byte, i int) ([]byte, error) {
	at := pageHeaderSize + i*elementSize
	if at+elementSize > len(page) {
		return nil, errors.New("it has more entries than fit")
	}
	return page[at:], nil
}

func slice(b []byte, from, length uint64) ([]byte, error) {
	if from+length > uint64(len(b)) {
		return nil, errors.New("an entry is beyond its end")
	}
	return b[from : from+length], nil
}

package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// reader reads the pages of a file that may be damaged in any way. It ends on
// every input, since it takes no page twice.
type reader struct {
	file  io.ReaderAt
	pages uint64
	taken []bool
}

// newReader checks both meta pages. A crash leaves both whole; bbolt would
// take one for the other, and so forget a transaction.
func newReader(file io.ReaderAt, size int64) (*reader, uint64, error) {
	head := make([]byte, 2*pageSize)
	if n, err := file.ReadAt(head, 0); n < len(head) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("the file has only %d bytes", n)
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
		return nil, 0, fmt.Errorf("the file has %d bytes, expected %d pages of %d", size, newest.pages, pageSize)
	}
	return &reader{file, newest.pages, make([]bool, newest.pages)}, newest.root, nil
}

// page reads a page and those that it runs over into.
func (r *reader) page(id uint64) ([]byte, error) {
	if id < 2 || id >= r.pages {
		return nil, fmt.Errorf("page %d is none of the %d", id, r.pages)
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
		if r.taken[i] {
			return nil, fmt.Errorf("page %d belongs to two places", i)
		}
		r.taken[i] = true
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

// walk visits the entries of the tree below a page in the order of their keys,
// which must rise and lie from low to below high (nil: no bound).
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
			low = append(append([]byte(nil), e.key...), 0) // the least that is greater
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
	return errors.New("it is neither branch nor leaf")
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
		return nil, nil, errors.New("it leads nowhere")
	}
	return keys, children, nil
}

// element is a page from its i-th element on: its positions count from there.
func element(page []byte, i int) ([]byte, error) {
	at := pageHeaderSize + i*elementSize
	if at+elementSize > len(page) {
		return nil, errors.New("it has more entries than room")
	}
	return page[at:], nil
}

func slice(b []byte, from, length uint64) ([]byte, error) {
	if from+length > uint64(len(b)) {
		return nil, errors.New("an entry leads out of it")
	}
	return b[from : from+length], nil
}

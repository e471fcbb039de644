package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

const pageSize = 4096

// disk is shared by all objects of the file system: it has the count of changes,
// and the images.
type disk struct {
	mu     sync.Mutex
	root   *directory
	armed  *directory // the directory of the images; nil: no images
	count  int
	fail   int // the number of the change that fails; 0: none
	errno  syscall.Errno
	images []image
}

// change counts a change, and makes it or fails. If it fails, change calls lost,
// which a sync uses to discard its data.
func (d *disk) change(do func(), lost func()) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	var errno syscall.Errno
	switch {
	case d.count != d.fail:
		do()
	case lost != nil:
		lost()
		fallthrough
	default:
		errno = d.errno
	}
	if d.armed != nil {
		chance := rand.New(rand.NewPCG(uint64(d.count), uint64(d.fail)))
		for kind, s := range map[string]survival{"synced": {}, "random": {chance: chance}, "killed": {all: true}} {
			d.keep(image{d.count, kind, d.armed.image(s)})
		}
	}
	return errno
}

// survival decides whether a part that was not synced is in an image: none, all,
// or a random part.
type survival struct {
	all    bool // includes the data that a failed sync has lost
	chance *rand.Rand
}

func (s survival) spares() bool { return s.all || s.chance != nil && s.chance.IntN(2) == 0 }

// keep adds an image. If one of the last three is the same, it stands for the later
// change too.
func (d *disk) keep(i image) {
	for back := 1; back <= min(3, len(d.images)); back++ {
		if last := &d.images[len(d.images)-back]; same(last.root, i.root) {
			last.after = i.after
			return
		}
	}
	d.images = append(d.images, i)
}

// same compares images of directories and files. Equal pages share their memory.
func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, same)
	case content:
		b, ok := b.(content)
		samePage := func(p, q []byte) bool { return &p[0] == &q[0] }
		return ok && a.size == b.size && maps.EqualFunc(a.pages, b.pages, samePage)
	}
	return false
}

// file is the content of a file: as programs read it (now), and as the disk has it
// (stable). Pages are never changed in place, so that images can share them.
type file struct {
	now, stable content
	dirty       map[int64]bool // pages that the next sync writes
	resized     bool
}

type content struct {
	pages map[int64][]byte // absent: zeros
	size  int64
}

func newFile() *file {
	return &file{
		now: content{pages: map[int64][]byte{}}, stable: content{pages: map[int64][]byte{}},
		dirty: map[int64]bool{},
	}
}

func (f *file) write(data []byte, at int64) {
	for len(data) > 0 {
		i, offset := at/pageSize, at%pageSize
		page := make([]byte, pageSize)
		copy(page, f.now.pages[i])
		n := copy(page[offset:], data)
		f.now.pages[i], f.dirty[i] = page, true
		data, at = data[n:], at+int64(n)
	}
	f.resize(max(f.now.size, at))
}

func (f *file) truncate(size int64) {
	for i, page := range f.now.pages {
		switch {
		case i*pageSize >= size:
			delete(f.now.pages, i)
			f.dirty[i] = true
		case (i+1)*pageSize > size:
			cut := make([]byte, pageSize)
			copy(cut, page[:size-i*pageSize])
			f.now.pages[i], f.dirty[i] = cut, true
		}
	}
	f.resize(size)
}

func (f *file) resize(size int64) {
	f.resized = f.resized || size != f.now.size
	f.now.size = size
}

func (f *file) read(buffer []byte, at int64) int {
	n := int(max(0, min(int64(len(buffer)), f.now.size-at)))
	for done := 0; done < n; {
		i, offset := (at+int64(done))/pageSize, (at+int64(done))%pageSize
		part := buffer[done:min(n, done+pageSize-int(offset))]
		clear(part)
		if page := f.now.pages[i]; page != nil {
			copy(part, page[offset:])
		}
		done += len(part)
	}
	return n
}

func (f *file) sync() {
	for i := range f.dirty {
		f.stable.set(i, f.now.pages[i])
	}
	if f.resized {
		f.stable.size = f.now.size
	}
	f.forget()
}

// forget makes a later sync ignore the writes since the last sync.
func (f *file) forget() {
	f.dirty, f.resized = map[int64]bool{}, false
}

func (f *file) image(s survival) content {
	if s.all {
		return content{maps.Clone(f.now.pages), f.now.size}
	}
	c := content{maps.Clone(f.stable.pages), f.stable.size}
	for _, i := range slices.Sorted(maps.Keys(f.dirty)) {
		if s.spares() {
			c.set(i, f.now.pages[i])
		}
	}
	if f.resized && s.spares() {
		c.size = f.now.size
	}
	return c
}

func (c *content) set(i int64, page []byte) {
	if page == nil {
		delete(c.pages, i)
	} else {
		c.pages[i] = page
	}
}

// directory has the names: as programs read them (now), and as the disk has them
// (stable).
type directory struct{ now, stable map[string]any }

func newDirectory() *directory {
	return &directory{map[string]any{}, map[string]any{}}
}

func (d *directory) image(s survival) map[string]any {
	names := d.stable
	if s.spares() {
		names = d.now
	}
	m := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch o := names[name].(type) {
		case *file:
			m[name] = o.image(s)
		case *directory:
			m[name] = o.image(s)
		}
	}
	return m
}

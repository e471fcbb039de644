package xdp

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All unsafe code of the server's side is in this file.

// arrays are the memory that the server shares with the program in the kernel.
type arrays struct {
	settings    *Settings
	ports       []atomic.Uint64
	rows        []Row
	identifiers []Bucket
	filter      []atomic.Uint64
	counters    [][counterSlots]atomic.Uint64 // read only
	control     []Control
	records     []Record // read only
	shares      []Share
	wake        wake

	mappings [][]byte
}

// wake is the ring buffer that wakes a reader, without its records: they are empty,
// and none is ever read.
type wake struct {
	file               *os.File
	consumed, produced *atomic.Uint64 // positions in bytes; only the kernel writes produced
}

// Bounds of the sizes that Map accepts.
const (
	mostProcessors = 1 << 13
	mostSlots      = 1 << 20
	mostBuckets    = 1 << 22
)

// filterWords returns the number of words of the filter, a power of two.
func filterWords(buckets int) int { return max(buckets/4, 1) }

var pageSize = os.Getpagesize()

// mapArrays maps the arrays of the given files. It closes all files except "wake", for
// which the readers wait.
func mapArrays(files map[string]*os.File) (*arrays, error) {
	a := new(arrays)
	err := a.mapAll(files)
	for name, f := range files {
		if name != "wake" || a.wake.file == nil {
			f.Close()
		}
	}
	if err != nil {
		a.unmap()
		return nil, err
	}
	return a, nil
}

func (a *arrays) mapAll(files map[string]*os.File) error {
	one, err := view[Settings](a, files, "settings", 1, true)
	if err != nil {
		return err
	}
	a.settings = &one[0]
	processors, slots, buckets := int(a.settings.Processors), int(a.settings.Slots), int(a.settings.Buckets)
	if processors < 1 || processors > mostProcessors || !powerOfTwo(slots, mostSlots) || !powerOfTwo(buckets, mostBuckets) {
		return fmt.Errorf("xdp: array settings: invalid sizes: %d processors, %d slots, %d buckets",
			processors, slots, buckets)
	}
	var errs [9]error
	a.ports, errs[0] = view[atomic.Uint64](a, files, "ports", PortEntries, true)
	a.rows, errs[1] = view[Row](a, files, "rows", Rows, true)
	a.identifiers, errs[2] = view[Bucket](a, files, "identifiers", buckets, true)
	a.counters, errs[3] = view[[counterSlots]atomic.Uint64](a, files, "counters", processors, false)
	a.control, errs[4] = view[Control](a, files, "control", processors, true)
	a.records, errs[5] = view[Record](a, files, "records", processors*slots, false)
	a.shares, errs[6] = view[Share](a, files, "shares", processors*4*ShareEntries, true)
	a.filter, errs[8] = view[atomic.Uint64](a, files, "filter", filterWords(buckets), true)
	errs[7] = a.mapWake(files)
	return errors.Join(errs[:]...)
}

// view maps n values of a type at the begin of an array. The kernel refuses a mapping
// that is larger than the array.
func view[T any](a *arrays, files map[string]*os.File, name string, n int, write bool) ([]T, error) {
	b, err := a.mapPart(files, name, 0, n*int(unsafe.Sizeof(*new(T))), write)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n), nil
}

func (a *arrays) mapWake(files map[string]*os.File) error {
	consumer, err := a.mapPart(files, "wake", 0, pageSize, true)
	if err != nil {
		return err
	}
	producer, err := a.mapPart(files, "wake", int64(pageSize), pageSize, false)
	if err != nil {
		return err
	}
	a.wake = wake{
		file:     files["wake"],
		consumed: (*atomic.Uint64)(unsafe.Pointer(&consumer[0])),
		produced: (*atomic.Uint64)(unsafe.Pointer(&producer[0])),
	}
	return nil
}

func (a *arrays) mapPart(files map[string]*os.File, name string, from int64, size int, write bool) ([]byte, error) {
	f := files[name]
	if f == nil {
		return nil, fmt.Errorf("xdp: array %s: no descriptor", name)
	}
	access := unix.PROT_READ
	if write {
		access |= unix.PROT_WRITE
	}
	b, err := unix.Mmap(int(f.Fd()), from, size, access, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("xdp: array %s: map %d bytes: %w", name, size, err)
	}
	a.mappings = append(a.mappings, b)
	return b, nil
}

// unmap ends all mappings. Nothing may use the arrays afterwards.
func (a *arrays) unmap() {
	for _, b := range a.mappings {
		unix.Munmap(b)
	}
	if a.wake.file != nil {
		a.wake.file.Close()
	}
	*a = arrays{}
}

// take counts a record as taken. Only the reader of its ring writes these words, so no
// locked instruction is necessary.
func (s *Share) take() { *(*uint32)(unsafe.Pointer(&s.Taken))++ }

func powerOfTwo(n, limit int) bool { return n > 0 && n <= limit && n&(n-1) == 0 }

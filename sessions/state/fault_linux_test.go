package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/faultfs"
	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/verify/wire"
)

func TestMain(m *testing.M) {
	faultfs.Main()
	netns.Together(4) // most tests wait for a disk or a network
	os.Exit(m.Run())
}

// known is a mark, with a lease, that was reported durable, and the number of
// changes to the disk before that report.
type known struct {
	id    wire.Identifier
	mark  uint32
	lease Lease
	after int
}

// TestFaults makes each change to the disk fail in turn while a store is made,
// used and closed; and simulates a power failure after each change of each of
// these runs. Entries that Record has reported durable are always there, the file
// is never damaged, and the store works again after the fault.
func TestFaults(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	errnos := []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EROFS}
	if testing.Short() {
		errnos = errnos[:1]
	}
	for _, errno := range errnos {
		last := 1
		for k := 0; k <= last; k++ {
			dir := disk.Arm(k, errno)
			marks := useStore(t, disk, dir, k)
			if k == 0 {
				last = disk.Count()
				t.Logf("%d changes, each of which fails with %v", last, errno)
			} else if disk.Count() < k {
				t.Fatalf("change %d of %d never came", k, last)
			}
			checkImages(t, disk, k, marks)
		}
	}
}

// useStore records marks as a server would, and returns those reported
// durable.
func useStore(t *testing.T, disk *faultfs.FS, dir string, k int) (marks []known) {
	t.Helper()
	failed := 0
	reopen := func() *Store {
		for {
			s, err := Open(t.Context(), config(dir))
			if err == nil {
				return s
			}
			if failed++; failed > 1 {
				t.Fatalf("fault %d: the store does not open again: %v", k, err)
			}
		}
	}
	mark := uint32(0)
	many := make([]sessions.Entry, 150) // so that the file has pages to reuse
	for i := range many {
		many[i] = used(byte(' '+i), 1)
		many[i].Identifier[0] = 'x'
	}
	for range 2 {
		s := reopen()
		if err := s.Record(many); err != nil {
			failed++
		}
		for i := range 5 {
			mark++
			e := used(byte('a'+i%3), mark)
			lease := lots(e.Identifier, int(mark))[mark-1]
			if _, err := s.RecordLeases([]sessions.Entry{e, used('z', mark)}, []Lease{lease}); err != nil {
				if failed++; failed > 1 {
					t.Fatalf("fault %d: still failing: %v", k, err)
				}
				continue
			}
			marks = append(marks, known{e.Identifier, mark, lease, disk.Count()})
		}
		if err := s.Close(); err != nil {
			if failed++; failed > 1 {
				t.Fatalf("fault %d: close: %v", k, err)
			}
		}
	}
	if want := min(k, 1); failed > want {
		t.Fatalf("fault %d: %d errors", k, failed)
	}
	return marks
}

// checkImages checks the content of the disk after each power failure.
func checkImages(t *testing.T, disk *faultfs.FS, k int, marks []known) {
	disk.Images(func(i faultfs.Image) {
		c, err := ReadDir(t.Context(), i.Path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("fault %d, power failure after %d (%s): %v", k, i.After, i.Kind, err)
			return
		}
		found := map[wire.Identifier]uint32{}
		for _, e := range c.Entries {
			found[e.Identifier] = e.HighestNonce
		}
		for _, m := range marks {
			if m.after <= i.After && found[m.id] < m.mark {
				t.Errorf("fault %d, power failure after %d (%s): %s has mark %d, %d was durable after %d",
					k, i.After, i.Kind, m.id, found[m.id], m.mark, m.after)
			}
			if m.after <= i.After && !slices.Contains(c.Leases, m.lease) {
				t.Errorf("fault %d, power failure after %d (%s): %+v is lost", k, i.After, i.Kind, m.lease)
			}
		}
	})
}

// TestResetFaults makes each change to the disk fail in turn while a store is
// reset, and simulates a power failure after each: the old file is never lost.
func TestResetFaults(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	disk := faultfs.Start(t)
	want := crowd(150, 7)
	before, last := 0, 1
	for k := 0; k <= last; k++ {
		fault := 0
		if k > 0 {
			fault = before + k
		}
		dir := disk.Arm(fault, syscall.EIO)
		s := open(t, config(dir))
		record(t, s, want...)
		closeStore(t, s)
		before = disk.Count() // each time as many
		o, err := Reset(t.Context(), dir, start.Add(time.Hour), false)
		if k == 0 {
			if err != nil {
				t.Fatal(err)
			}
			last = disk.Count() - before
			t.Logf("%d changes, each of which fails", last)
		} else if disk.Count() < before+k {
			t.Fatalf("change %d of %d never came", k, last)
		}
		whole := func(path string) bool {
			c, err := ReadFile(path)
			return err == nil && reflect.DeepEqual(c.Entries, want)
		}
		check := func(what, dir string) {
			path := filepath.Join(dir, FileName)
			if !whole(path) && !whole(path+".20270115T090000.000Z") {
				t.Errorf("fault %d, %s: the old file is lost", k, what)
			}
			if c, err := ReadDir(t.Context(), dir); err != nil || len(c.Entries) != 0 && len(c.Entries) != len(want) {
				t.Errorf("fault %d, %s: %d entries, %v", k, what, len(c.Entries), err)
			}
		}
		check(fmt.Sprintf("%+v, %v", o, err), dir)
		disk.Images(func(i faultfs.Image) {
			if i.After >= before {
				check(fmt.Sprintf("power failure after %d (%s)", i.After, i.Kind), i.Path)
			}
		})
	}
}

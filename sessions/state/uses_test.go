package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/sessions/durable"
)

func aUse(i int) Use { return Use{UseKey{fmt.Sprintf("open-ssh-%d", i), 7}, uint32(i), i%2 == 0} }

func usesFile(dir string) string { return filepath.Join(dir, UsesFileName) }

func writeUses(t *testing.T, dir string, list ...Use) {
	t.Helper()
	if err := WriteUses(dir, list); err != nil {
		t.Fatal(err)
	}
}

func TestUsesAreStored(t *testing.T) {
	dir := t.TempDir()
	var none *NoUsesError
	if list, err := ReadUses(dir); !errors.As(err, &none) || !errors.Is(err, fs.ErrNotExist) || list != nil {
		t.Fatalf("no file: %v, %v", list, err)
	}
	for _, want := range [][]Use{nil, {aUse(1), aUse(2)}, {aUse(3)}} {
		writeUses(t, dir, want...)
		if got, err := ReadUses(dir); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, %v", got, err)
		}
	}
	if info, err := os.Stat(usesFile(dir)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	list := make([]Use, MaxUses)
	for i := range list {
		list[i] = Use{UseKey{fmt.Sprintf("%04d%s", i, strings.Repeat("\x01", 12)), 1<<64 - 1}, 1<<32 - 1, true}
	}
	writeUses(t, dir, list...)
	if got, err := ReadUses(dir); err != nil || !reflect.DeepEqual(got, list) {
		t.Errorf("%d counts, %v", len(got), err)
	}
	if err := WriteUses(dir, append(list, aUse(1))); err == nil {
		t.Error("more than MaxUses counts")
	}
}

// TestEachDamageOfUsesIsFound: with any changed byte, or without any part, the counts
// are the same or there is an error.
func TestEachDamageOfUsesIsFound(t *testing.T) {
	want := []Use{aUse(1), aUse(3)}
	id := durable.Identity{Inode: 12, Born: 34}
	whole, err := encodeUses(want, id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if list, _, err := decodeUses(whole[:i]); err == nil {
			t.Errorf("without byte %d and the rest: %v", i, list)
		}
		for _, flip := range []byte{0x01, 0x20, 0x80} {
			damaged := bytes.Clone(whole)
			damaged[i] ^= flip
			if list, _, err := decodeUses(damaged); err == nil && !reflect.DeepEqual(list, want) {
				t.Errorf("bit %#x of byte %d: %v", flip, i, list)
			}
		}
	}
	if list, _, err := decodeUses(append(bytes.Clone(whole), '\n')); err == nil {
		t.Errorf("with more: %v", list)
	}
	twice, err := encodeUses([]Use{aUse(1), aUse(1)}, id)
	if err != nil {
		t.Fatal(err)
	}
	if list, _, err := decodeUses(twice); err == nil {
		t.Errorf("an operation twice: %v", list)
	}
	dir := t.TempDir()
	writeUses(t, dir)
	for content, want := range map[string]error{`{"version":2}` + "\n": new(NewerError), "": new(DamagedError)} {
		if err := os.WriteFile(usesFile(dir), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadUses(dir)
		target := reflect.New(reflect.TypeOf(want))
		if !errors.As(err, target.Interface()) || !strings.Contains(err.Error(), usesFile(dir)) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// TestACopyIsRecognised: counts that a backup has restored are known to be old, however
// they were restored; a directory that was renamed is no copy.
func TestACopyIsRecognised(t *testing.T) {
	base := t.TempDir()
	dir, backup := filepath.Join(base, "state"), filepath.Join(base, "backup")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	old := Use{UseKey: UseKey{"open-ssh-1", 7}, Used: 1}
	writeUses(t, dir, old)
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(usesFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	newer := old
	newer.Used = 2
	restored := func(how string, restore func() error) {
		t.Helper()
		writeUses(t, dir, newer)
		if err := restore(); err != nil {
			t.Fatal(err)
		}
		var copied *CopiedError
		if list, err := ReadUses(dir); !errors.As(err, &copied) || !slices.Equal(list, []Use{old}) {
			t.Errorf("%s: %v, %v", how, list, err)
		}
	}
	restored("into the file", func() error { return os.WriteFile(usesFile(dir), content, 0o600) })
	restored("as another file", func() error {
		return errors.Join(os.Remove(usesFile(dir)), os.WriteFile(usesFile(dir), content, 0o600))
	})
	restored("with the directory", func() error {
		return errors.Join(os.RemoveAll(dir), os.Rename(backup, dir))
	})
	writeUses(t, dir, newer)
	moved := filepath.Join(base, "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadUses(moved); err != nil || !slices.Equal(list, []Use{newer}) {
		t.Errorf("renamed: %v, %v", list, err)
	}
}

// TestAfterLoss: whatever may have been used since counts as used up.
func TestAfterLoss(t *testing.T) {
	known, fresh := UseKey{"known", 1}, UseKey{"fresh", 1}
	got := AfterLoss([]Use{{UseKey: known, Used: 1}}, []UseKey{known, fresh})
	want := []Use{{UseKey: known, Used: 1, Unknown: true}, {UseKey: fresh, Unknown: true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	for n, u := range map[int]Use{0: want[0], 2: {Used: 3}, 3: {Used: 3}} {
		if u.LeftOf(n) != 0 {
			t.Errorf("%v leaves %d of %d", u, u.LeftOf(n), n)
		}
	}
	if left := (Use{Used: 3}).LeftOf(5); left != 2 {
		t.Errorf("%d left", left)
	}
}

// TestUsesMakeRoom: the oldest counts of former operations go, and no present one.
func TestUsesMakeRoom(t *testing.T) {
	var list []Use
	for i := range MaxUses {
		list = append(list, aUse(i))
	}
	present := []UseKey{aUse(0).UseKey, aUse(2).UseKey}
	next := Use{UseKey: UseKey{"another", 7}, Used: 1}
	got := SetUse(list, next, present)
	if len(got) != MaxUses || got[0] != list[0] || got[1] != list[2] || got[MaxUses-1] != next || list[1] != aUse(1) {
		t.Errorf("%d: %v … %v", len(got), got[:2], got[len(got)-1])
	}
	next.Used = 2
	again := SetUse(got, next, nil)
	if len(again) != MaxUses || again[MaxUses-1] != next {
		t.Error("a count that is there makes no room")
	}
}

func TestEditUses(t *testing.T) {
	dir := t.TempDir()
	edit := func(f func([]Use, error) ([]Use, error)) error {
		return EditUses(context.Background(), dir, f)
	}
	if err := edit(func(list []Use, err error) ([]Use, error) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no file: %v", err)
		}
		return []Use{aUse(1)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("refused")
	if err := edit(func([]Use, error) ([]Use, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	lock, err := takeLock(context.Background(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	var locked *LockedError
	if err := edit(func([]Use, error) ([]Use, error) { return nil, nil }); !errors.As(err, &locked) {
		t.Errorf("while a server runs: %v", err)
	}
	if list, err := ReadUses(dir); err != nil || !slices.Equal(list, []Use{aUse(1)}) {
		t.Errorf("%v, %v", list, err)
	}
}

// TestCreateMakesARecordOfUses, and keeps one that is there.
func TestCreateMakesARecordOfUses(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadUses(dir); err != nil || list != nil {
		t.Errorf("%v, %v", list, err)
	}
	dir = t.TempDir()
	writeUses(t, dir, aUse(1))
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	if list, err := ReadUses(dir); err != nil || !slices.Equal(list, []Use{aUse(1)}) {
		t.Errorf("%v, %v", list, err)
	}
}

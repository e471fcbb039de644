// Package formattest is for the tests of formats: files of each version so far, which are
// kept in testdata/formats, and their damage.
package formattest

import (
	"encoding"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Update writes the meaning of a kept file that has none:
//
//	go test -run TestFormatsSoFar -update
var update = flag.Bool("update", false, "write the missing files of meaning in testdata/formats")

// File is a kept file. Its meaning is a file beside it: what a release with that version
// made of it. A kept file of the present version may get further keys, and its meaning
// further lines. Nothing else of them may change, because users have such files.
type File struct {
	Path string
	Text []byte
}

// Files returns the files of a version with an extension, such as ".toml".
func Files(t testing.TB, version int, extension string) (list []File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata/formats", strconv.Itoa(version), "*"+extension))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file of version %d is kept: %v", version, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, File{path, text})
	}
	return list
}

func (f File) meaningPath() string {
	return strings.TrimSuffix(f.Path, filepath.Ext(f.Path)) + ".meaning"
}

// Meaning returns the kept meaning.
func (f File) Meaning(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(f.meaningPath())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Check compares the kept meaning with that of this release. It may have further lines.
func (f File) Check(t *testing.T, now []string) {
	t.Helper()
	if _, err := os.Stat(f.meaningPath()); *update && os.IsNotExist(err) {
		if err := os.WriteFile(f.meaningPath(), []byte(strings.Join(now, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(f.Meaning(t)) {
		if line = strings.TrimSuffix(line, "\n"); !slices.Contains(now, line) {
			t.Errorf("%s no longer means %s", f.Path, line)
		}
	}
}

// EachDamage calls read for parts of the file, and for the file with a wrong bit in one of
// every bytes. Read must not panic.
func (f File) EachDamage(every int, read func(text []byte)) {
	for i := 0; i < len(f.Text); i += every {
		read(slices.Clone(f.Text[:i]))
		wrong := slices.Clone(f.Text)
		wrong[i] ^= 1 << (i / every % 8)
		read(wrong)
	}
}

// Describe returns a line for each value in v that is not zero, as far as it is exported.
func Describe(name string, v any) (lines []string) {
	describe(reflect.ValueOf(v), name, &lines)
	return lines
}

func describe(v reflect.Value, at string, lines *[]string) {
	if !v.IsValid() || v.IsZero() {
		return
	}
	add := func(format string, value any) { *lines = append(*lines, fmt.Sprintf("%s = "+format, at, value)) }
	if text, ok := v.Interface().(encoding.TextMarshaler); ok {
		if b, err := text.MarshalText(); err == nil {
			add("%s", b)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		describe(v.Elem(), at, lines)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				describe(v.Field(i), at+"."+f.Name, lines)
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			add("%x", v.Interface())
			return
		}
		for i := range v.Len() {
			describe(v.Index(i), fmt.Sprintf("%s[%d]", at, i), lines)
		}
	case reflect.Func, reflect.Chan, reflect.Map, reflect.UnsafePointer:
	default:
		add("%v", v.Interface())
	}
}

// Unchanged returns a function that checks that a directory has the same files as now.
func Unchanged(t *testing.T, dir string) func() {
	t.Helper()
	before := Tree(t, dir)
	return func() {
		t.Helper()
		if after := Tree(t, dir); !reflect.DeepEqual(after, before) {
			t.Errorf("%s has changed: %q, before: %q", dir, after, before)
		}
	}
}

// Tree returns the content of each file in a directory.
func Tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

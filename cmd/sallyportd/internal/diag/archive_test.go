package diag

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// TestWrite: all parts are files of one directory, scrubbed, with the reasons of those that
// are missing, and a README that lists them. A part of any size is bounded.
func TestWrite(t *testing.T) {
	var s Scrubber
	s.Secret("hunter2hunter2")
	var archive bytes.Buffer
	missing, err := Write(&archive, time.Unix(1000, 0), &s, []Part{
		{Name: "a.txt", About: "the first", Text: "x hunter2hunter2 client=com1 got \"y\"\n"},
		{Name: "b.txt", Text: "some", Err: errors.New("no rights: hunter2hunter2, of com1")},
		{Name: "c.txt", Text: "0000000000000000a 0000000000000000a\n", Fixed: true},
		{Name: "d.txt", Text: strings.Repeat("x", maxPart+1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 2 || missing[0] != (Missing{"b.txt", "no rights: (left out), of client-1"}) || missing[1].Part != "d.txt" {
		t.Errorf("missing: %v", missing)
	}
	zip, err := gzip.NewReader(&archive)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || h.Mode != 0o600 || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: mode %o, of %q, %v", h.Name, h.Mode, h.Uname, err)
		}
		files[h.Name] = string(text)
	}
	const dir = "sallyport-diag-19700101T001640Z/"
	for name, want := range map[string]string{
		"a.txt": "x (left out) client=client-1 got \"(left out)\"\n",
		"b.txt": "some\nmissing or incomplete: no rights: (left out), of client-1\n",
		"c.txt": "0000000000000000a 0000000000000000a\n",
	} {
		if files[dir+name] != want {
			t.Errorf("%s: %q", name, files[dir+name])
		}
	}
	for _, want := range []string{"a.txt                the first\n", "\nMissing or incomplete:\nb.txt                no rights"} {
		if !strings.Contains(files[dir+"README.txt"], want) {
			t.Errorf("README.txt lacks %q:\n%s", want, files[dir+"README.txt"])
		}
	}
	if len(files) != 5 || len(files[dir+"d.txt"]) > maxPart+100 {
		t.Errorf("%d files, %d bytes", len(files), len(files[dir+"d.txt"]))
	}
}

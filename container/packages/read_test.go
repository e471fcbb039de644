package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// file is one that a package installs.
type file struct {
	mode         fs.FileMode
	owner, group string
	time         time.Time
	text         []byte
	config       bool // the package manager keeps it if it was edited
}

// content is what a package installs, by absolute path, and what it runs, by the name that
// the format has for it.
type content struct {
	files   map[string]file
	scripts map[string]string
	control string // the fields, as the format writes them
}

// open reads a package as its package manager does.
func (r release) open(t *testing.T, name string) content {
	t.Helper()
	switch filepath.Ext(name) {
	case ".deb":
		return r.openDeb(t, name)
	case ".rpm":
		return r.openRPM(t, name)
	case ".apk":
		return r.openAPK(t, name)
	case ".ipk":
		return r.openIPK(t, name)
	}
	t.Fatalf("%s is no package", name)
	return content{}
}

// packages returns the names of all packages of a release.
func (r release) packageNames(t *testing.T) (names []string) {
	t.Helper()
	for _, kind := range []string{"deb", "rpm", "apk", "ipk"} {
		found, err := filepath.Glob(filepath.Join(r.out, "*."+kind))
		if err != nil || len(found) < 3 {
			t.Fatalf("found %d packages of the kind %s: %v", len(found), kind, err)
		}
		for _, path := range found {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// read returns a file of the release.
func (r release) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.out, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// run returns the output of a program that reads files of a release.
func (r release) run(t *testing.T, program string, args ...string) string {
	t.Helper()
	var problems bytes.Buffer
	c := exec.Command(program, args...)
	c.Dir, c.Stderr = r.out, &problems
	out, err := c.Output()
	if err != nil || problems.Len() > 0 {
		t.Fatalf("%s %s: %v %s", program, strings.Join(args, " "), err, problems.String())
	}
	return string(out)
}

// untar reads an archive. Its names may be relative to the root in each form.
func untar(t *testing.T, from io.Reader) map[string]file {
	t.Helper()
	files := map[string]file{}
	for archive := tar.NewReader(from); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Join("/", h.Name)
		if _, twice := files[name]; twice || strings.Contains(h.Name, "..") {
			t.Errorf("%s is there twice, or leads elsewhere", h.Name)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
			t.Errorf("%s is neither a file nor a directory", h.Name)
		}
		files[name] = file{mode: h.FileInfo().Mode(), owner: h.Uname, group: h.Gname, time: h.ModTime.UTC(), text: text}
	}
}

func gunzip(t *testing.T, compressed []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (r release) openDeb(t *testing.T, name string) content {
	control := untar(t, strings.NewReader(r.run(t, "dpkg-deb", "--ctrl-tarfile", name)))
	c := content{
		files: untar(t, strings.NewReader(r.run(t, "dpkg-deb", "--fsys-tarfile", name))), scripts: map[string]string{},
		control: string(control["/control"].text),
	}
	r.controlFiles(t, &c, control)
	return c
}

// openIPK reads a tarball of tarballs.
func (r release) openIPK(t *testing.T, name string) content {
	outer := untar(t, bytes.NewReader(gunzip(t, []byte(r.read(t, name)))))
	if got := string(outer["/debian-binary"].text); got != "2.0\n" {
		t.Errorf("%s: got the format %q", name, got)
	}
	control := untar(t, bytes.NewReader(gunzip(t, outer["/control.tar.gz"].text)))
	c := content{
		files: untar(t, bytes.NewReader(gunzip(t, outer["/data.tar.gz"].text))), scripts: map[string]string{},
		control: string(control["/control"].text),
	}
	r.controlFiles(t, &c, control)
	return c
}

// controlFiles adds what the control part of a deb or an ipk has.
func (r release) controlFiles(t *testing.T, c *content, control map[string]file) {
	for name, f := range control {
		if f.mode&0o111 != 0 && !f.mode.IsDir() {
			c.scripts[strings.TrimPrefix(name, "/")] = string(f.text)
		}
	}
	for name := range strings.FieldsSeq(string(control["/conffiles"].text)) {
		f, there := c.files[name]
		if !there {
			t.Errorf("the configuration file %s is not in the package", name)
		}
		f.config = true
		c.files[name] = f
	}
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"regexp"
	"strings"
	"testing"
)

// members splits a file into its gzip streams.
func members(t *testing.T, text string) (parts [][]byte) {
	t.Helper()
	for left := strings.NewReader(text); left.Len() > 0; {
		begin := len(text) - left.Len()
		r, err := gzip.NewReader(left)
		if err != nil {
			t.Fatal(err)
		}
		r.Multistream(false)
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, []byte(text[begin:len(text)-left.Len()]))
	}
	return parts
}

// openAPK reads the two parts, a gzip stream each: the control part, and the data. There is
// no apk here: these are the checks of apk-tools 3, which refuses an archive that fails one.
func (r release) openAPK(t *testing.T, name string) content {
	t.Helper()
	parts := members(t, r.read(t, name))
	if len(parts) != 2 {
		t.Fatalf("%s: got %d parts, want 2", name, len(parts))
	}
	control, data := gunzip(t, parts[0]), gunzip(t, parts[1])
	if len(control)%512 != 0 || bytes.HasSuffix(control, make([]byte, 1024)) {
		t.Errorf("%s: the control part ends the archive, so apk would not read the data", name)
	}
	if !bytes.HasSuffix(data, make([]byte, 1024)) {
		t.Errorf("%s: the archive has no end", name)
	}
	c := content{files: untar(t, bytes.NewReader(data)), scripts: map[string]string{}}
	for script, f := range untar(t, bytes.NewReader(control)) {
		if script == "/.PKGINFO" {
			c.control = string(f.text)
		} else {
			c.scripts[strings.TrimPrefix(script, "/")] = string(f.text)
		}
	}
	if c.control == "" || !strings.HasPrefix(string(control), ".PKGINFO\x00") {
		t.Errorf("%s does not begin with .PKGINFO", name)
	}
	hash := sha256.Sum256(parts[1])
	if got := field(c.control, "datahash", " = "); got != hex.EncodeToString(hash[:]) {
		t.Errorf("%s: got the datahash %s, want %x", name, got, hash)
	}
	checksums(t, name, data)
	// The package manager keeps edited files of /etc, without a mark.
	for path, f := range c.files {
		f.config = strings.HasPrefix(path, "/etc/") && !f.mode.IsDir()
		c.files[path] = f
	}
	return c
}

// checksums: each file has its hash in its header, and the header of each directory comes
// before its files.
func checksums(t *testing.T, name string, data []byte) {
	t.Helper()
	dirs := map[string]bool{"": true}
	for archive := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		trimmed := strings.TrimSuffix(h.Name, "/")
		parent := trimmed[:max(0, strings.LastIndexByte(trimmed, '/'))]
		if !dirs[parent] || strings.HasPrefix(h.Name, "/") || strings.HasPrefix(h.Name, "./") {
			t.Errorf("%s: %s comes before its directory, or is not relative", name, h.Name)
		}
		if h.Typeflag == tar.TypeDir {
			dirs[trimmed] = true
			continue
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		hash := sha1.Sum(text)
		if got := h.PAXRecords["APK-TOOLS.checksum.SHA1"]; got != hex.EncodeToString(hash[:]) {
			t.Errorf("%s: got the checksum %s of %s, want %x", name, got, h.Name, hash)
		}
	}
}

// field returns the value of a line "key = value", or "key: value".
func field(text, key, separator string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, key+separator); found {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}

// TestAPK: the fields that apk requires are there, and each is one line.
func TestAPK(t *testing.T) {
	r := made
	version := strings.ReplaceAll(r.version, "-", "_") + "-r1"
	for name, arch := range map[string]string{
		"sallyport_" + version + "_x86_64.apk":         "x86_64",
		"sallyport-server_" + version + "_aarch64.apk": "aarch64",
		"sallyport_" + r.version + "_openwrt_mips.apk": "noarch",
		"sallyport_" + r.version + "_openwrt_arm.apk":  "noarch",
	} {
		c := r.open(t, name)
		if got := field(c.control, "arch", " = "); got != arch {
			t.Errorf("%s: got the processor %q, want %q", name, got, arch)
		}
		if got := field(c.control, "pkgver", " = "); got != version {
			t.Errorf("%s: got the version %q, want %q", name, got, version)
		}
		for line := range strings.Lines(c.control) {
			if !regexp.MustCompile(`^(pkgname|pkgver|arch|size|pkgdesc|maintainer|license|datahash) = \S.*\n$`).MatchString(line) {
				t.Errorf("%s: .PKGINFO has the line %q", name, line)
			}
		}
	}
}

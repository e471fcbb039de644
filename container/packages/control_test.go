package main

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// debVersion returns a version as deb, rpm and ipk have it: a candidate
// has a tilde, so that it is older than the release.
func debVersion(version string) string { return strings.Replace(version, "-", "~", 1) }

// TestDeb: the fields, as dpkg reads them.
func TestDeb(t *testing.T) {
	r := made
	for _, name := range r.packageNames(t) {
		if filepath.Ext(name) != ".deb" {
			continue
		}
		c := r.open(t, name)
		for key, pattern := range map[string]string{
			"Package": `sallyport(-server)?`, "Architecture": `amd64|arm64|armel`, "Version": regexp.QuoteMeta(debVersion(r.version)) + "-1",
			"Section": "net", "Priority": "optional", "Maintainer": `.+ <.+@.+>`, "Installed-Size": `[0-9]+`, "Description": `.{10,80}`,
		} {
			if got := field(c.control, key, ": "); !regexp.MustCompile("^(" + pattern + ")$").MatchString(got) {
				t.Errorf("%s: got the %s %q, want %s", name, key, got, pattern)
			}
		}
		got := field(c.control, "Package", ": ") + "_" + field(c.control, "Version", ": ") + "_" + field(c.control, "Architecture", ": ") + ".deb"
		if got != name {
			t.Errorf("%s is the package %s", name, got)
		}
		var size int
		for _, f := range c.files {
			size += len(f.text)
		}
		if got, _ := strconv.Atoi(field(c.control, "Installed-Size", ": ")); got < size>>10 || got > size>>10+1024 {
			t.Errorf("%s: got the size %d KiB, want about %d", name, got, size>>10)
		}
		if depends := field(c.control, "Depends", ": "); depends != "" {
			t.Errorf("%s depends on %s; the programs are static", name, depends)
		}
	}
}

// TestIPK: the package is for every OpenWrt, with the fields that opkg requires.
func TestIPK(t *testing.T) {
	r := made
	for _, arch := range []string{"amd64", "arm", "arm64", "mips", "mipsle"} {
		c := r.open(t, "sallyport_"+r.version+"_"+arch+".ipk")
		for key, want := range map[string]string{"Package": "sallyport", "Architecture": "all", "Version": debVersion(r.version) + "-1", "Priority": "optional"} {
			if got := field(c.control, key, ": "); got != want {
				t.Errorf("%s: got the %s %q, want %q", arch, key, got, want)
			}
		}
		for _, key := range []string{"Maintainer", "Description", "Section", "Installed-Size"} {
			if field(c.control, key, ": ") == "" {
				t.Errorf("%s: no %s", arch, key)
			}
		}
	}
}

// TestOrderOfVersions: a candidate is older than its release in each format.
func TestOrderOfVersions(t *testing.T) {
	r := testRelease(t.TempDir(), "v1.2.3-rc1")
	for _, name := range []string{
		"sallyport_1.2.3~rc1-1_amd64.deb", "sallyport-1.2.3~rc1-1.x86_64.rpm", "sallyport_1.2.3_rc1-r1_x86_64.apk",
		"sallyport_1.2.3-rc1_mips.ipk", "sallyport_1.2.3-rc1_openwrt_mips.apk", "sallyport_1.2.3-rc1_windows_amd64.zip",
	} {
		r.read(t, name)
	}
	r.run(t, "dpkg", "--compare-versions", field(r.open(t, "sallyport_1.2.3~rc1-1_amd64.deb").control, "Version", ": "), "lt", "1.2.3-1")
	if got := field(r.open(t, "sallyport_1.2.3-rc1_mips.ipk").control, "Version", ": "); got != "1.2.3~rc1-1" {
		t.Errorf("got the version %q of the ipk", got)
	}
}

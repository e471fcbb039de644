package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// conffiles are those of all releases so far. A later release must still have each, or
// remove it in its scripts: dpkg keeps one that has disappeared for ever.
var conffiles = []string{"/etc/sallyport/example.toml"}

func TestDeb(t *testing.T) {
	r := made
	deb := "sallyport-server_1.2.3-1_amd64.deb"
	if got := strings.Fields(r.run(t, "dpkg-deb", "--info", deb, "conffiles")); !slices.Equal(got, conffiles) {
		t.Errorf("got conffiles %q, want %q", got, conffiles)
	}
	listing := r.run(t, "dpkg-deb", "--contents", deb)
	for _, want := range []string{
		"-rwxr-xr-x root/root .* ./usr/bin/sallyportd",
		"-rw-r--r-- root/root .* ./etc/sallyport/example.toml",
		"-rw-r--r-- root/root .* ./usr/lib/systemd/system/sallyportd.service",
		"-rw-r--r-- root/root .* ./usr/lib/systemd/system/sallyportd-firewall.service",
		"-rw-r--r-- root/root .* ./usr/lib/sysusers.d/sallyport.conf",
		"-rw-r--r-- root/root .* ./usr/share/man/man1/sallyportd-serve.1",
		"-rw-r--r-- root/root .* ./usr/share/bash-completion/completions/sallyportd",
	} {
		if !regexp.MustCompile("(?m)^" + want + "$").MatchString(listing) {
			t.Errorf("no line is %s:\n%s", want, listing)
		}
	}
	dir := t.TempDir()
	r.run(t, "dpkg-deb", "-x", deb, dir)
	out, err := exec.Command("grep", "-r", "/usr/local/bin/sallyport", filepath.Join(dir, "usr/lib/systemd")).Output()
	if err == nil {
		t.Errorf("units name programs elsewhere: %s", out)
	}
	for arch, want := range map[string]string{"arm64": "arm64", "armel": "armel"} {
		got := strings.TrimSpace(r.run(t, "dpkg-deb", "--field", "sallyport_1.2.3-1_"+arch+".deb", "Architecture"))
		if got != want {
			t.Errorf("got architecture %q, want %q", got, want)
		}
	}
}

// TestApk: there is no apk here, so tar reads the two parts, a gzip stream each.
func TestApk(t *testing.T) {
	r := made
	apk := "sallyport-server_1.2.3-r1_x86_64.apk"
	info := r.run(t, "tar", "-xzOf", apk, "--ignore-zeros", ".PKGINFO")
	for _, want := range []string{"pkgname = sallyport-server", "pkgver = 1.2.3-r1", "arch = x86_64", "datahash = "} {
		if !strings.Contains(info, "\n"+want) && !strings.HasPrefix(info, want) {
			t.Errorf(".PKGINFO lacks %q:\n%s", want, info)
		}
	}
	listing := strings.Fields(r.run(t, "tar", "-tzf", apk, "--ignore-zeros"))
	for _, want := range []string{".PKGINFO", ".post-install", ".post-upgrade", ".pre-deinstall", ".post-deinstall", "usr/bin/sallyportd", "etc/sallyport/example.toml"} {
		if !slices.Contains(listing, want) {
			t.Errorf("the apk lacks %s: %q", want, listing)
		}
	}
	for _, name := range listing {
		if strings.Contains(name, "systemd") {
			t.Errorf("the apk has %s", name)
		}
	}
}

// TestIpk: a router gets the program, and nothing else.
func TestIpk(t *testing.T) {
	r := made
	dir := t.TempDir()
	r.run(t, "tar", "-xzf", "sallyport_1.2.3_mips.ipk", "-C", dir)
	control := r.run(t, "tar", "-xzOf", filepath.Join(dir, "control.tar.gz"), "./control")
	if !strings.Contains(control, "Architecture: all\n") {
		t.Errorf("the ipk is not for every OpenWrt:\n%s", control)
	}
	var files []string
	for name := range strings.FieldsSeq(r.run(t, "tar", "-tzf", filepath.Join(dir, "data.tar.gz"))) {
		if !strings.HasSuffix(name, "/") {
			files = append(files, name)
		}
	}
	if !slices.Equal(files, []string{"./usr/bin/sallyport"}) {
		t.Errorf("got %q, want the program only", files)
	}
}

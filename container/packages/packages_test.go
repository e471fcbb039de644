package main

import (
	"bytes"
	"debug/buildinfo"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// conffiles are those of all releases so far. A later release must still have each, or
// remove it in its scripts: dpkg keeps one that has disappeared for ever.
var conffiles = []string{"/etc/sallyport/example.toml"}

// TestContents: modes, owners and times of all files of all packages, and which of them a
// package manager keeps if they were edited.
func TestContents(t *testing.T) {
	r := made
	for _, name := range r.packageNames(t) {
		var config []string
		for p, f := range r.open(t, name).files {
			wantMode, owner := fs.FileMode(0o644), "root"
			switch {
			case f.mode.IsDir():
				wantMode = fs.ModeDir | 0o755
			case strings.HasPrefix(p, "/usr/bin/") || strings.HasPrefix(p, "/usr/lib/sallyport/") || p == "/usr/share/sallyport/lease-file":
				wantMode = 0o755
			}
			if p == "/etc/sallyport" && strings.HasSuffix(name, ".apk") {
				wantMode, owner = fs.ModeDir|0o750, "sallyport"
			}
			if f.mode != wantMode || f.owner != owner || f.group != owner {
				t.Errorf("%s: %s is %v of %s:%s, want %v of %s", name, p, f.mode, f.owner, f.group, wantMode, owner)
			}
			if !f.time.Equal(r.date) {
				t.Errorf("%s: %s has the time %v, want %v", name, p, f.time, r.date)
			}
			if f.config {
				config = append(config, p)
			}
		}
		want := []string(nil)
		if strings.HasPrefix(name, "sallyport-server") {
			want = conffiles
		}
		if !slices.Equal(config, want) {
			t.Errorf("%s: got the configuration files %q, want %q", name, config, want)
		}
	}
}

// TestFiles: each package has the files of its program, in the directories of its systems,
// and a router gets the program only.
func TestFiles(t *testing.T) {
	r := made
	common := []string{"/usr/bin/P", "/usr/share/man/man1/P.1", "/usr/share/bash-completion/completions/P", "/usr/share/zsh/site-functions/_P", "/usr/share/fish/vendor_completions.d/P.fish"}
	systemd := []string{"/usr/lib/systemd/system/sallyportd.service", "/usr/lib/systemd/system/sallyportd-firewall.service", "/usr/lib/sysusers.d/sallyport.conf"}
	for _, name := range r.packageNames(t) {
		c := r.open(t, name)
		program, want := "sallyport", common
		switch {
		case strings.HasPrefix(name, "sallyport-server"):
			program = "sallyportd"
			want = append(slices.Clone(want), "/etc/sallyport/example.toml", "/usr/lib/sallyport/sallyport-nft", "/usr/share/sallyport/sallyportd-shield.conf", "/usr/share/man/man1/sallyportd-serve.1")
			if !strings.HasSuffix(name, ".apk") {
				want = append(want, systemd...)
			}
		case strings.HasSuffix(name, ".ipk") || strings.Contains(name, "openwrt"):
			want = want[:1]
			for p, f := range c.files {
				if p != "/usr/bin/sallyport" && !f.mode.IsDir() {
					t.Errorf("%s has %s", name, p)
				}
			}
		}
		for _, p := range want {
			if p = strings.ReplaceAll(p, "P", program); len(c.files[p].text) == 0 {
				t.Errorf("%s lacks %s", name, p)
			}
		}
		for p, f := range c.files {
			if program == "sallyport" && strings.Contains(p, "sallyportd") || strings.HasSuffix(name, ".apk") && strings.Contains(p, "systemd") {
				t.Errorf("%s has %s", name, p)
			}
			if path.Dir(p) != "/usr/bin" && bytes.Contains(f.text, []byte("/usr/local/bin/sallyport")) && !strings.HasPrefix(p, "/usr/share/man/") {
				t.Errorf("%s: %s names programs elsewhere", name, p)
			}
		}
	}
}

// TestPrograms: each package has the program for its processor, and for the oldest model of
// that processor, without floating point if some lack it.
func TestPrograms(t *testing.T) {
	r := made
	processors := map[string]string{"amd64": "amd64", "x86_64": "amd64", "arm64": "arm64", "aarch64": "arm64", "armel": "arm", "arm": "arm", "mips": "mips", "mipsle": "mipsle"}
	of := regexp.MustCompile(`[_.]([a-z0-9]+(_64)?)\.[a-z]+$`)
	for _, name := range r.packageNames(t) {
		for p, f := range r.open(t, name).files {
			if path.Dir(p) != "/usr/bin" {
				continue
			}
			info, err := buildinfo.Read(bytes.NewReader(f.text))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got := map[string]string{}
			for _, s := range info.Settings {
				got[s.Key] = s.Value
			}
			for key, want := range settings("linux", processors[of.FindStringSubmatch(name)[1]]) {
				if got[key] != want {
					t.Errorf("%s: got a program with %s=%s, want %s", name, key, got[key], want)
				}
			}
		}
	}
}

// TestPackageScripts: the server's packages run scripts at the same events, and the client's
// none. A shell can read each.
func TestPackageScripts(t *testing.T) {
	r := made
	for _, name := range r.packageNames(t) {
		want := map[string][]string{
			".deb": {"postinst", "postrm", "prerm"}, ".rpm": {"postin", "postun", "preun"},
			".apk": {".post-deinstall", ".post-install", ".post-upgrade", ".pre-deinstall", ".pre-install"},
		}[filepath.Ext(name)]
		if !strings.HasPrefix(name, "sallyport-server") {
			want = nil
		}
		var got []string
		for script, text := range r.open(t, name).scripts {
			got = append(got, script)
			c := exec.Command("sh", "-n")
			c.Stdin = strings.NewReader(text)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s: the script %s: %v %s", name, script, err, out)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: got the scripts %q, want %q", name, got, want)
		}
	}
}

// TestUser: the user that the scripts make, that of sysusers and that of the units are one.
func TestUser(t *testing.T) {
	text, err := os.ReadFile("sysusers.conf")
	if err != nil || !strings.Contains(string(text), "\nu sallyport - ") {
		t.Errorf("sysusers.conf makes no user sallyport: %v\n%s", err, text)
	}
	c := made.open(t, "sallyport-server_"+debVersion(made.version)+"-1_amd64.deb")
	for _, unit := range []string{"sallyportd", "sallyportd-firewall"} {
		text := string(c.files["/usr/lib/systemd/system/"+unit+".service"].text)
		if !strings.Contains(text, "\nUser=sallyport\n") || !regexp.MustCompile(`(?m)^ExecStart=/usr/bin/sallyportd `).MatchString(text) {
			t.Errorf("%s does not start /usr/bin/sallyportd as sallyport:\n%s", unit, text)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// made is a release that tests share: of stand-ins, or that in the directory
// SALLYPORT_TEST_RELEASE, which "build" has made for all platforms without URL.
var made release

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "packages")
	if err != nil {
		panic(err)
	}
	made = testRelease(dir, "v1.2.3")
	if given := os.Getenv("SALLYPORT_TEST_RELEASE"); given != "" {
		if made, err = existing(made, given); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// existing returns a release as its files describe it.
func existing(r release, dir string) (release, error) {
	r.stage, r.out = "", dir
	text, err := os.ReadFile(filepath.Join(dir, "homebrew", "sallyport.rb"))
	if err != nil {
		return r, err
	}
	_, after, _ := strings.Cut(string(text), `version "`)
	r.version, _, _ = strings.Cut(after, `"`)
	bom, err := readSBOM(filepath.Join(dir, "sallyportd_"+r.version+"_linux_amd64.cdx.json"))
	if err != nil {
		return r, err
	}
	r.date, err = time.Parse(time.RFC3339, bom.Metadata.Timestamp)
	return r, err
}

// TestReproducible: the files, their names and their hashes do not depend on the directory,
// on the modes of the sources, or on the clock.
func TestReproducible(t *testing.T) {
	one, other := testRelease(t.TempDir(), "v1.2.3"), testRelease(t.TempDir(), "v1.2.3")
	sums := one.read(t, "SHA256SUMS")
	got := other.read(t, "SHA256SUMS")
	for line := range strings.Lines(sums) {
		if !strings.Contains(got, line) {
			t.Errorf("another build has another hash: %s", line)
		}
	}
	if len(got) != len(sums) {
		t.Errorf("another build has other files:\n%s", got)
	}
}

// TestSums: SHA256SUMS has each file of the release, and no other.
func TestSums(t *testing.T) {
	r := made
	r.run(t, "sha256sum", "--quiet", "--strict", "--check", "SHA256SUMS")
	sums := r.read(t, "SHA256SUMS")
	deb, apk := debVersion(r.version), strings.ReplaceAll(r.version, "-", "_")
	names := strings.Fields(strings.NewReplacer("DEB", deb, "APK", apk, "VERSION", r.version).Replace(`
		sallyport-server_DEB-1_amd64.deb sallyport-server_DEB-1_arm64.deb sallyport_DEB-1_amd64.deb sallyport_DEB-1_arm64.deb sallyport_DEB-1_armel.deb
		sallyport-server-DEB-1.x86_64.rpm sallyport-server-DEB-1.aarch64.rpm sallyport-DEB-1.x86_64.rpm sallyport-DEB-1.aarch64.rpm
		sallyport-server_APK-r1_x86_64.apk sallyport-server_APK-r1_aarch64.apk sallyport_APK-r1_x86_64.apk sallyport_APK-r1_aarch64.apk
		sallyport_VERSION_openwrt_amd64.apk sallyport_VERSION_amd64.ipk sallyport_VERSION_openwrt_arm.apk sallyport_VERSION_openwrt_arm64.apk sallyport_VERSION_openwrt_mips.apk sallyport_VERSION_openwrt_mipsle.apk
		sallyport_VERSION_arm.ipk sallyport_VERSION_arm64.ipk sallyport_VERSION_mips.ipk sallyport_VERSION_mipsle.ipk
		sallyport_VERSION_macos_amd64.tar.gz sallyport_VERSION_macos_arm64.tar.gz sallyport_VERSION_windows_amd64.zip sallyport_VERSION_windows_arm64.zip
		homebrew/sallyport.rb winget/Sallyport.Sallyport.yaml winget/Sallyport.Sallyport.locale.en-US.yaml winget/Sallyport.Sallyport.installer.yaml`))
	for _, platform := range platforms {
		for _, program := range programsFor(platform) {
			names = append(names, strings.TrimSuffix(program, ".exe")+"_"+r.version+"_"+platform+".cdx.json")
		}
	}
	for _, name := range names {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS lacks %s", name)
		}
	}
	if got := strings.Count(sums, "\n"); got != len(names) {
		t.Errorf("SHA256SUMS has %d files, want %d:\n%s", got, len(names), sums)
	}
}

func TestVersions(t *testing.T) {
	for version, valid := range map[string]bool{
		"v1.2.3": true, "1.2.3-rc1": true, "v1.2.3-beta": true, "v1.2": false, "v1.2.3-rc.1": false, "v1.2.3-4-gbf380c70": false, "v1.2.3-next": false, "bf380c70": false, "": false,
	} {
		r := release{version: version, stage: t.TempDir(), out: t.TempDir()}
		// A stage without programs is the next mistake.
		if err := r.make(); err == nil || strings.Contains(err.Error(), "expected a version") == valid {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestFullDirectory(t *testing.T) {
	r := testRelease(t.TempDir(), "v1.2.3")
	if err := r.make(); err == nil || !strings.Contains(err.Error(), "empty directory") {
		t.Errorf("a directory with files: got %v", err)
	}
}

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// made is a release that tests share: it takes seconds to make.
var made release

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "packages")
	if err != nil {
		panic(err)
	}
	made = testRelease(dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// testRelease makes a release for all platforms in a directory. Its programs are the one
// of this test, which has modules in it, as those of the project do.
func testRelease(dir string) release {
	stage := filepath.Join(dir, "stage")
	r := release{
		version: "v1.2.3", date: time.Unix(1767366245, 0).UTC(), url: "https://gate.example.org/sallyport",
		source: filepath.Join("..", ".."), stage: stage, out: filepath.Join(dir, "out"),
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		panic(err)
	}
	for _, platform := range []string{"linux_amd64", "linux_arm64", "linux_arm", "linux_mips", "linux_mipsle", "darwin_amd64", "darwin_arm64", "windows_amd64", "windows_arm64"} {
		dir := filepath.Join(stage, "bin", platform)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			panic(err)
		}
		programs := []string{"sallyport"}
		switch {
		case platform == "linux_amd64" || platform == "linux_arm64":
			programs = append(programs, "sallyportd")
		case strings.HasPrefix(platform, "windows"):
			programs = []string{"sallyport.exe"}
		}
		for _, program := range programs {
			if err := os.WriteFile(filepath.Join(dir, program), text, 0o700); err != nil {
				panic(err)
			}
		}
	}
	for _, name := range []string{
		"man/sallyport.1", "man/sallyport-knock.1", "man/sallyportd.1", "man/sallyportd-serve.1",
		"completions/bash/sallyport", "completions/bash/sallyportd", "completions/zsh/_sallyport", "completions/zsh/_sallyportd",
		"completions/fish/sallyport.fish", "completions/fish/sallyportd.fish",
	} {
		path := filepath.Join(stage, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			panic(err)
		}
		if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
			panic(err)
		}
	}
	if err := r.make(); err != nil {
		panic(err)
	}
	return r
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
	c := exec.Command(program, args...)
	c.Dir = r.out
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v", program, strings.Join(args, " "), err)
	}
	return string(out)
}

// TestReproducible: the files, their names and their hashes do not depend on the directory,
// on the modes of the sources, or on the clock.
func TestReproducible(t *testing.T) {
	one, other := made, testRelease(t.TempDir())
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
	one.run(t, "sha256sum", "--quiet", "--strict", "--check", "SHA256SUMS")
	for _, name := range []string{
		"sallyport-server_1.2.3-1_amd64.deb", "sallyport-server_1.2.3-1_arm64.deb", "sallyport-server-1.2.3-1.x86_64.rpm", "sallyport-server-1.2.3-1.aarch64.rpm",
		"sallyport-server_1.2.3-r1_x86_64.apk", "sallyport-server_1.2.3-r1_aarch64.apk",
		"sallyport_1.2.3-1_amd64.deb", "sallyport_1.2.3-1_armel.deb", "sallyport-1.2.3-1.aarch64.rpm", "sallyport_1.2.3-r1_x86_64.apk",
		"sallyport_1.2.3_mips.ipk", "sallyport_1.2.3_mipsle.ipk", "sallyport_1.2.3_arm.ipk", "sallyport_1.2.3_arm64.ipk",
		"sallyport_1.2.3_macos_arm64.tar.gz", "sallyport_1.2.3_windows_amd64.zip", "homebrew/sallyport.rb", "winget/Sallyport.Sallyport.installer.yaml",
		"sallyportd_1.2.3_linux_amd64.cdx.json", "sallyport_1.2.3_windows_arm64.cdx.json",
	} {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS lacks %s", name)
		}
	}
}

func TestVersions(t *testing.T) {
	for version, valid := range map[string]bool{"v1.2.3": true, "1.2.3-rc1": true, "v1.2": false, "bf380c70": false, "": false} {
		r := release{version: version, stage: t.TempDir(), out: t.TempDir()}
		// A stage without programs is the next mistake.
		if err := r.make(); err == nil || strings.Contains(err.Error(), "expected a version") == valid {
			t.Errorf("version %q: %v", version, err)
		}
	}
}

func TestFullDirectory(t *testing.T) {
	r := made
	if err := r.make(); err == nil || !strings.Contains(err.Error(), "empty directory") {
		t.Errorf("a directory with files: got %v", err)
	}
}

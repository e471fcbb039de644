package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestManifests: each address in a manifest is that of a file of the release, and the hash
// that follows it is the file's.
func TestManifests(t *testing.T) {
	r := made
	for name, pattern := range map[string]string{
		"homebrew/sallyport.rb":                     `url "(\S+)"\n\s+sha256 "([0-9a-f]{64})"`,
		"winget/Sallyport.Sallyport.installer.yaml": `InstallerUrl: (\S+)\n\s+InstallerSha256: ([0-9a-f]{64})`,
	} {
		pairs := regexp.MustCompile(pattern).FindAllStringSubmatch(r.read(t, name), -1)
		if len(pairs) != 2 {
			t.Errorf("%s: got %d archives, want 2", name, len(pairs))
		}
		for _, pair := range pairs {
			file, found := strings.CutPrefix(pair[1], r.url+"/")
			if !found {
				t.Errorf("%s: got the address %s", name, pair[1])
			}
			if want, err := hashOf(filepath.Join(r.out, file)); err != nil || pair[2] != want {
				t.Errorf("%s: got the hash %s of %s, want %s, %v", name, pair[2], file, want, err)
			}
		}
	}
	for _, name := range []string{"winget/Sallyport.Sallyport.yaml", "winget/Sallyport.Sallyport.locale.en-US.yaml", "winget/Sallyport.Sallyport.installer.yaml"} {
		if !strings.Contains(r.read(t, name), "\nPackageVersion: 1.2.3\n") {
			t.Errorf("%s lacks the version", name)
		}
	}
}

// TestArchives: the archives have the files that the manifests name.
func TestArchives(t *testing.T) {
	r := made
	z, err := zip.OpenReader(filepath.Join(r.out, "sallyport_1.2.3_windows_amd64.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if len(z.File) != 1 || z.File[0].Name != "sallyport.exe" {
		t.Errorf("the zip has not exactly the program: %v", z.File)
	}
	f, err := os.Open(filepath.Join(r.out, "sallyport_1.2.3_macos_arm64.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	compressed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(compressed); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Name == "sallyport" && header.Mode != 0o755 {
			t.Errorf("the program has mode %o", header.Mode)
		}
	}
	for _, want := range []string{"sallyport", "man1/sallyport-knock.1", "completions/bash/sallyport", "completions/zsh/_sallyport", "completions/fish/sallyport.fish"} {
		if !slices.Contains(names, want) {
			t.Errorf("the tarball lacks %s: %q", want, names)
		}
	}
	if slices.Contains(names, "man1/sallyportd.1") {
		t.Error("the client's tarball has pages of the server")
	}
}

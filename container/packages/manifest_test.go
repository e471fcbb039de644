package main

import (
	"archive/zip"
	"bytes"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestManifests: each address in a manifest is that of a file of the release, for the
// processor of the line before, and the hash that follows it is the file's.
func TestManifests(t *testing.T) {
	r := made
	for name, pattern := range map[string]string{
		"homebrew/sallyport.rb":                     `on_(arm|intel) do\n\s+url "(\S+)"\n\s+sha256 "([0-9a-f]{64})"`,
		"winget/Sallyport.Sallyport.installer.yaml": `Architecture: (x64|arm64)\n\s+InstallerUrl: (\S+)\n\s+InstallerSha256: ([0-9a-f]{64})`,
	} {
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(r.read(t, name), -1)
		if len(found) != 2 {
			t.Errorf("%s: got %d archives, want 2", name, len(found))
		}
		for _, one := range found {
			file, here := strings.CutPrefix(one[2], r.url+"/")
			arch := map[string]string{"arm": "arm64", "arm64": "arm64", "intel": "amd64", "x64": "amd64"}[one[1]]
			if !here || !strings.Contains(file, "_"+arch+".") {
				t.Errorf("%s: got the address %s for %s", name, one[2], one[1])
			}
			if want, err := hashOf(filepath.Join(r.out, file)); err != nil || one[3] != want {
				t.Errorf("%s: got the hash %s of %s, want %s, %v", name, one[3], file, want, err)
			}
		}
	}
}

// TestWinget: the manifests have the keys that winget's schemas of this version require,
// within their limits.
func TestWinget(t *testing.T) {
	r := made
	for name, keys := range map[string]string{
		"Sallyport.Sallyport.yaml":              `DefaultLocale: en-US|ManifestType: version`,
		"Sallyport.Sallyport.locale.en-US.yaml": `PackageLocale: en-US|Publisher: .{2,256}|PackageName: .{2,256}|License: .{3,512}|ShortDescription: .{3,256}|ManifestType: defaultLocale`,
		"Sallyport.Sallyport.installer.yaml":    `InstallerType: zip|NestedInstallerType: portable|Installers:|- RelativeFilePath: sallyport.exe|  PortableCommandAlias: sallyport|ManifestType: installer`,
	} {
		text := r.read(t, "winget/"+name)
		for _, pattern := range append(strings.Split(keys, "|"), `PackageIdentifier: Sallyport\.Sallyport`, `PackageVersion: `+regexp.QuoteMeta(r.version), `ManifestVersion: 1\.6\.0`) {
			if got := regexp.MustCompile("(?m)^"+pattern+"$").FindAllString(text, -1); len(got) != 1 {
				t.Errorf("%s has %d lines %s:\n%s", name, len(got), pattern, text)
			}
		}
		if !strings.HasPrefix(text, "# yaml-language-server: $schema=https://aka.ms/winget-manifest.") {
			t.Errorf("%s does not name its schema", name)
		}
	}
}

func (r release) unzip(t *testing.T, name string) map[string]file {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join(r.out, name))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string]file{}
	for _, f := range z.File {
		opened, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(opened) // it checks the sum
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = file{mode: f.Mode(), time: f.Modified.UTC(), text: text}
	}
	return files
}

func (r release) untarball(t *testing.T, name string) map[string]file {
	t.Helper()
	return untar(t, bytes.NewReader(gunzip(t, []byte(r.read(t, name)))))
}

// TestArchives: the archives have the files that the manifests name, and no page of the
// server.
func TestArchives(t *testing.T) {
	r := made
	for _, arch := range []string{"amd64", "arm64"} {
		files := r.unzip(t, "sallyport_"+r.version+"_windows_"+arch+".zip")
		if f, there := files["sallyport.exe"]; !there || len(files) != 1 || !f.time.Equal(r.date) {
			t.Errorf("the zip has not exactly the program, with the time of the release: %v, %v", len(files), f.time)
		}
		files = r.untarball(t, "sallyport_"+r.version+"_macos_"+arch+".tar.gz")
		for _, want := range []string{"/sallyport", "/man1/sallyport.1", "/man1/sallyport-knock.1", "/completions/bash/sallyport", "/completions/zsh/_sallyport", "/completions/fish/sallyport.fish"} {
			if len(files[want].text) == 0 {
				t.Errorf("the tarball lacks %s", want)
			}
		}
		for name, f := range files {
			if strings.Contains(name, "sallyportd") || !f.time.Equal(r.date) || f.mode.Perm() != 0o644 && name != "/sallyport" {
				t.Errorf("the tarball has %s, %v, %v", name, f.mode, f.time)
			}
		}
		if got := files["/sallyport"].mode; got != 0o755 {
			t.Errorf("the program has mode %v", got)
		}
	}
}

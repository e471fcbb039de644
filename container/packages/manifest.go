package main

import (
	"bytes"
	"os"
	"path/filepath"
	"text/template"
)

// manifest is a file from which a package manager gets the address of an archive, and its hash.
type manifest struct {
	system, name, text string
}

var manifests = []manifest{
	{"darwin", "homebrew/sallyport.rb", `class Sallyport < Formula
  desc "Port-knocking client: opens services that a Sallyport server hides"
  homepage "{{.URL}}"
  version "{{.Version}}"
  depends_on :macos
{{range .Archives}}
  on_{{if eq .Arch "arm64"}}arm{{else}}intel{{end}} do
    url "{{.URL}}"
    sha256 "{{.Hash}}"
  end
{{end}}
  def install
    bin.install "sallyport"
    man1.install Dir["man1/*.1"]
    bash_completion.install "completions/bash/sallyport"
    zsh_completion.install "completions/zsh/_sallyport"
    fish_completion.install "completions/fish/sallyport.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/sallyport --version")
  end
end
`},
	{"windows", "winget/Sallyport.Sallyport.yaml", `# yaml-language-server: $schema=https://aka.ms/winget-manifest.version.1.6.0.schema.json
PackageIdentifier: Sallyport.Sallyport
PackageVersion: {{.Version}}
DefaultLocale: en-US
ManifestType: version
ManifestVersion: 1.6.0
`},
	{"windows", "winget/Sallyport.Sallyport.locale.en-US.yaml", `# yaml-language-server: $schema=https://aka.ms/winget-manifest.defaultLocale.1.6.0.schema.json
PackageIdentifier: Sallyport.Sallyport
PackageVersion: {{.Version}}
PackageLocale: en-US
Publisher: Sallyport
PackageName: Sallyport
License: Unspecified
ShortDescription: "Port-knocking client: opens services that a Sallyport server hides"
ManifestType: defaultLocale
ManifestVersion: 1.6.0
`},
	{"windows", "winget/Sallyport.Sallyport.installer.yaml", `# yaml-language-server: $schema=https://aka.ms/winget-manifest.installer.1.6.0.schema.json
PackageIdentifier: Sallyport.Sallyport
PackageVersion: {{.Version}}
InstallerType: zip
NestedInstallerType: portable
NestedInstallerFiles:
- RelativeFilePath: sallyport.exe
  PortableCommandAlias: sallyport
Installers:
{{- range .Archives}}
- Architecture: {{if eq .Arch "amd64"}}x64{{else}}{{.Arch}}{{end}}
  InstallerUrl: {{.URL}}
  InstallerSha256: {{.Hash}}
{{- end}}
ManifestType: installer
ManifestVersion: 1.6.0
`},
}

// located is an archive as a manifest names it.
type located struct{ Arch, URL, Hash string }

// manifests writes the manifests of the archives.
func (r release) manifests(made []archive) error {
	bySystem := map[string][]located{}
	for _, a := range made {
		hash, err := hashOf(filepath.Join(r.out, a.name))
		if err != nil {
			return err
		}
		bySystem[a.system] = append(bySystem[a.system], located{a.arch, r.url + "/" + a.name, hash})
	}
	for _, m := range manifests {
		if len(bySystem[m.system]) == 0 {
			continue
		}
		var text bytes.Buffer
		err := template.Must(template.New(m.name).Parse(m.text)).Execute(&text, struct {
			Version, URL string
			Archives     []located
		}{r.version, r.url, bySystem[m.system]})
		if err != nil {
			return err
		}
		path := filepath.Join(r.out, m.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

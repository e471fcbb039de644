package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk" // these register the formats
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/ipk"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// target is a processor for which there are packages. It has nfpm's name, which each
// format translates. The format "openwrt" is the apk for OpenWrt from 25.12; earlier ones have
// the ipk.
type target struct {
	nfpm    string
	server  bool
	formats []string
}

var targets = map[string]target{
	"amd64": {"amd64", true, []string{"deb", "rpm", "apk", "ipk", "openwrt"}},
	"arm64": {"arm64", true, []string{"deb", "rpm", "apk", "ipk", "openwrt"}},
	// Programs for ARM run on version 5 and later. Debian's armel is for these.
	"arm":    {"arm5", false, []string{"deb", "ipk", "openwrt"}},
	"mips":   {"mips", false, []string{"ipk", "openwrt"}},
	"mipsle": {"mipsle", false, []string{"ipk", "openwrt"}},
}

// packages makes the packages of the client, and of the server where it is built.
func (r release) packages(arch string) error {
	t, known := targets[arch]
	if !known {
		return fmt.Errorf("there are no packages for this processor")
	}
	for _, format := range t.formats {
		info, err := r.client(arch, format)
		if err != nil {
			return err
		}
		if err := r.pack(info, t, arch, format); err != nil {
			return err
		}
		if !t.server || router(format) {
			continue
		}
		if info, err = r.server(arch, format); err != nil {
			return err
		}
		if err := r.pack(info, t, arch, format); err != nil {
			return err
		}
	}
	return nil
}

// router reports whether a format is for OpenWrt.
func router(format string) bool { return format == "ipk" || format == "openwrt" }

// pack writes a package. OpenWrt has a name for each model of processor, so its packages are
// for all processors, and the names of their files have the processor.
func (r release) pack(info *nfpm.Info, t target, arch, format string) error {
	info.Arch, info.IPK.Arch = t.nfpm, "all"
	kind := format
	if format == "openwrt" {
		kind, info.APK.Arch = "apk", "noarch"
	}
	switch first, rest, _ := strings.Cut(info.Description, "\n"); kind {
	case "apk":
		info.Description = first // it has no place for more
	case "rpm":
		info.RPM.Summary, info.Description = first, rest
	}
	info.Version, info.VersionSchema, info.Release = r.version, "semver", "1"
	info.MTime, info.RPM.BuildHost, info.DisableGlobbing = r.date, "localhost", true
	info.Maintainer, info.License = "The authors of Sallyport <sallyport@gate.example.org>", "Unspecified"
	info.RPM.Group, info.Section, info.Priority = "Applications/Internet", "net", "optional"
	for _, c := range info.Contents {
		if c.FileInfo == nil {
			c.FileInfo = &files.ContentFileInfo{Mode: 0o644}
		}
		if c.FileInfo.Owner == "" {
			c.FileInfo.Owner, c.FileInfo.Group = "root", "root"
		}
		c.FileInfo.MTime = r.date
	}
	info = nfpm.WithDefaults(info)
	if err := nfpm.PrepareForPackager(info, kind); err != nil {
		return err
	}
	packager, err := nfpm.Get(kind)
	if err != nil {
		return err
	}
	name := packager.ConventionalFileName(info)
	switch format {
	case "ipk":
		name = fmt.Sprintf("%s_%s_%s.ipk", info.Name, r.version, arch)
	case "openwrt":
		name = fmt.Sprintf("%s_%s_openwrt_%s.apk", info.Name, r.version, arch)
	}
	var text bytes.Buffer
	if err := packager.Package(info, &text); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(r.out, name), text.Bytes(), 0o644)
}

func executable(from, to string) *files.Content {
	return &files.Content{Source: from, Destination: to, FileInfo: &files.ContentFileInfo{Mode: 0o755}}
}

func plain(from, to string) *files.Content { return &files.Content{Source: from, Destination: to} }

// common returns the contents that both packages have: a program, its pages and its
// completions. Routers have neither man nor completions.
func (r release) common(program, arch, format string) (files.Contents, error) {
	contents := files.Contents{executable(r.program("linux", arch, program), "/usr/bin/"+program)}
	if router(format) {
		return contents, nil
	}
	pages, err := r.pages(program)
	for _, page := range pages {
		contents = append(contents, plain(page, "/usr/share/man/man1/"+filepath.Base(page)))
	}
	completions := filepath.Join(r.stage, "completions")
	return append(contents,
		plain(filepath.Join(completions, "bash", program), "/usr/share/bash-completion/completions/"+program),
		plain(filepath.Join(completions, "zsh", "_"+program), "/usr/share/zsh/site-functions/_"+program),
		plain(filepath.Join(completions, "fish", program+".fish"), "/usr/share/fish/vendor_completions.d/"+program+".fish"),
	), err
}

func (r release) client(arch, format string) (*nfpm.Info, error) {
	contents, err := r.common("sallyport", arch, format)
	return &nfpm.Info{
		Name:         "sallyport",
		Description:  "Port-knocking client\nOpens services that a Sallyport server hides.",
		Overridables: nfpm.Overridables{Contents: contents},
	}, err
}

// example is the configuration that an administrator copies. Package managers keep it if
// it was edited.
const example = "/etc/sallyport/example.toml"

func (r release) server(arch, format string) (*nfpm.Info, error) {
	contents, err := r.common("sallyportd", arch, format)
	if err != nil {
		return nil, err
	}
	own := filepath.Join(r.source, "container", "packages")
	contents = append(contents, &files.Content{
		Source: filepath.Join(own, "example.toml"), Destination: example, Type: files.TypeConfigNoReplace,
	})
	shared, err := r.shared(format)
	if err != nil {
		return nil, err
	}
	// An rpm removes only the directories that it owns.
	for _, dir := range []string{"/usr/lib/sallyport", "/usr/share/sallyport"} {
		contents = append(contents, &files.Content{Destination: dir, Type: files.TypeDir, FileInfo: &files.ContentFileInfo{Mode: 0o755}})
	}
	if format == "apk" {
		// apk restores the owner after the scripts, so the package has to name it.
		contents = append(contents, &files.Content{
			Destination: filepath.Dir(example), Type: files.TypeDir,
			FileInfo: &files.ContentFileInfo{Mode: 0o750, Owner: "sallyport", Group: "sallyport"},
		})
	}
	scripts, err := r.scripts(format)
	return &nfpm.Info{
		Name:        "sallyport-server",
		Description: "Port-knocking server\nHides services of this host until a client has knocked.",
		Overridables: nfpm.Overridables{
			Contents: append(contents, shared...),
			Scripts:  scripts.common,
			APK:      nfpm.APK{Scripts: nfpm.APKScripts{PostUpgrade: scripts.apkUpgraded}},
		},
	}, err
}

// local is where the guide installs by hand; packages have other directories.
var local = regexp.MustCompile(`/usr/local/(bin|lib/sallyport)/`)

// shared returns the files of container/: units, the programs that they start, and files
// to copy.
func (r release) shared(format string) (contents files.Contents, err error) {
	from, to := filepath.Join(r.source, "container"), filepath.Join(r.stage, "shared")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, err
	}
	units := 0
	for _, entry := range entries {
		name, mode := entry.Name(), os.FileMode(0o644)
		var dir string
		switch {
		case format != "apk" && (strings.HasSuffix(name, ".service") || strings.HasSuffix(name, ".path")):
			dir = "/usr/lib/systemd/system/" // Alpine has no systemd
			units++
		case name == "sallyport-nft":
			dir, mode = "/usr/lib/sallyport/", 0o755
		case name == "lease-file":
			dir, mode = "/usr/share/sallyport/", 0o755
		case strings.HasSuffix(name, ".conf") || name == "alerts.yaml" || name == "dashboard.json" || strings.HasPrefix(name, "crowdsec-"):
			dir = "/usr/share/sallyport/"
		default:
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return nil, err
		}
		text = local.ReplaceAll(text, []byte("/usr/$1/"))
		path := filepath.Join(to, name)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return nil, err
		}
		contents = append(contents, &files.Content{Source: path, Destination: dir + name, FileInfo: &files.ContentFileInfo{Mode: mode}})
	}
	if format == "apk" {
		return contents, nil
	}
	if units < 2 {
		return nil, fmt.Errorf("%s: found %d units, want at least 2", from, units)
	}
	path := filepath.Join(r.source, "container", "packages", "sysusers.conf")
	return append(contents, plain(path, "/usr/lib/sysusers.d/sallyport.conf")), nil
}

// Packages makes, of programs that "build" has compiled, all files of a release:
//
//	programs, pages ──► deb, rpm, apk, ipk   linux.go, scripts.go
//	                ──► zip, tar.gz          archive.go
//	                ──► SBOM                 sbom.go
//	archives        ──► winget, Homebrew     manifest.go
//	all files       ──► SHA256SUMS           sums.go
//
// Equal programs, version and time give equal files: nothing in them comes from the clock,
// the host's name, or the directory.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// release has the settings from which the files of a release are made.
type release struct {
	version string    // 1.2.3, or 1.2.3-rc1
	date    time.Time // of all files in packages
	url     string    // of the directory from which people will download the files
	source  string    // the checkout
	stage   string    // programs in bin/OS_ARCH, pages in man, and completions
	out     string    // where the files go
}

func main() {
	var r release
	var epoch int64
	flag.StringVar(&r.version, "version", "", "the `version`")
	flag.Int64Var(&epoch, "epoch", 0, "the time of all files, in `seconds` since 1970")
	flag.StringVar(&r.url, "url", "https://gate.example.org/sallyport", "the `address` of the directory from which the files will be downloaded")
	flag.StringVar(&r.source, "source", "", "the `directory` of the checkout")
	flag.StringVar(&r.stage, "stage", "", "the `directory` of programs, pages and completions")
	flag.StringVar(&r.out, "out", "", "the `directory` for the files")
	flag.Parse()
	r.date = time.Unix(epoch, 0).UTC()
	if err := r.make(); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

// versions are those that all formats know. Alpine has only these words for candidates.
var versions = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-(alpha|beta|rc)[0-9]*)?$`)

func (r release) make() error {
	r.version = strings.TrimPrefix(r.version, "v")
	if !versions.MatchString(r.version) {
		return fmt.Errorf("expected a version such as v1.2.3 or v1.2.3-rc1, got %q", r.version)
	}
	dirs, err := filepath.Glob(filepath.Join(r.stage, "bin", "*_*"))
	if err != nil {
		return err
	}
	if len(dirs) == 0 {
		return fmt.Errorf("%s has no programs", r.stage)
	}
	slices.Sort(dirs)
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if left, err := os.ReadDir(r.out); err != nil {
		return err
	} else if len(left) != 0 {
		return fmt.Errorf("expected an empty directory for the files, got %s with %s", r.out, left[0].Name())
	}
	var made []archive
	for _, dir := range dirs {
		system, arch, _ := strings.Cut(filepath.Base(dir), "_")
		if err := r.sboms(dir, system, arch); err != nil {
			return err
		}
		if system == "linux" {
			err = r.packages(arch)
		} else {
			var a archive
			a, err = r.archive(system, arch)
			made = append(made, a)
		}
		if err != nil {
			return fmt.Errorf("%s on %s: %w", system, arch, err)
		}
	}
	if err := r.manifests(made); err != nil {
		return err
	}
	return writeSums(r.out)
}

// program returns the path of a program that was compiled.
func (r release) program(system, arch, name string) string {
	return filepath.Join(r.stage, "bin", system+"_"+arch, name)
}

// pages returns the manual pages of a program.
func (r release) pages(program string) (pages []string, err error) {
	for _, pattern := range []string{program + ".1", program + "-*.1"} {
		found, err := filepath.Glob(filepath.Join(r.stage, "man", pattern))
		if err != nil {
			return nil, err
		}
		pages = append(pages, found...)
	}
	if len(pages) < 2 {
		return nil, fmt.Errorf("%s has no manual pages of %s", r.stage, program)
	}
	return pages, nil
}

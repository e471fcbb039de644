package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// specification is the version of CycloneDX that the files have: more tools read it than the
// latest.
const specification = cdx.SpecVersion1_6

// sboms writes a bill of materials for each program of a directory. It has what the linker
// has recorded in the program, and so exactly the modules that are in it.
func (r release) sboms(dir, system, arch string) error {
	programs, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, program := range programs {
		path := filepath.Join(dir, program.Name())
		bom, err := r.sbom(path)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(program.Name(), ".exe")
		f, err := os.Create(filepath.Join(r.out, fmt.Sprintf("%s_%s_%s_%s.cdx.json", name, r.version, system, arch)))
		if err != nil {
			return err
		}
		err = cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, specification)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return fmt.Errorf("write the bill of materials of %s: %w", path, err)
		}
	}
	return nil
}

func (r release) sbom(path string) (*cdx.BOM, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the modules of %s: %w", path, err)
	}
	hash, err := hashOf(path)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(filepath.Base(path), ".exe")
	program := cdx.Component{
		BOMRef: name, Type: cdx.ComponentTypeApplication, Name: name, Version: r.version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hash}},
	}
	compiler := cdx.Component{
		Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion,
		PackageURL: packageURL("std", strings.TrimPrefix(info.GoVersion, "go")),
	}
	compiler.BOMRef = compiler.PackageURL
	components, refs := []cdx.Component{compiler}, []string{compiler.BOMRef}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := cdx.Component{
			Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version,
			PackageURL: packageURL(m.Path, m.Version),
		}
		c.BOMRef = c.PackageURL
		// The sum of the directory's files, as in go.sum.
		if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) == 32 {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
		}
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: r.date.Format("2006-01-02T15:04:05Z"), Component: &program}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: name, Dependencies: &refs}}
	return bom, nil
}

// packageURL returns the address of a module in the form of the purl specification: names of
// modules are in lower case, and a plus in a version is escaped.
func packageURL(module, version string) string {
	return "pkg:golang/" + strings.ToLower(module) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

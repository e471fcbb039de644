package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/xeipuuv/gojsonschema"
)

func readSBOM(path string) (*cdx.BOM, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var bom cdx.BOM
	return &bom, cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom)
}

// shipped returns the program that a release has for a platform, out of a package or an
// archive.
func (r release) shipped(t *testing.T, program, platform string) []byte {
	t.Helper()
	system, arch, _ := strings.Cut(platform, "_")
	switch system {
	case "windows":
		return r.unzip(t, "sallyport_"+r.version+"_"+platform+".zip")["sallyport.exe"].text
	case "darwin":
		return r.untarball(t, "sallyport_"+r.version+"_macos_"+arch+".tar.gz")["/sallyport"].text
	}
	name := map[string]string{"sallyport": "sallyport", "sallyportd": "sallyport-server"}[program] + "_" + debVersion(r.version) + "-1_" + strings.Replace(arch, "arm", "armel", 1) + ".deb"
	switch arch {
	case "arm64":
		name = strings.Replace(name, "armel64", "arm64", 1)
	case "mips", "mipsle":
		name = "sallyport_" + r.version + "_" + arch + ".ipk"
	}
	return r.open(t, name).files["/usr/bin/"+program].text
}

// TestSBOM: a bill of materials has each module of the program that the release has, and the
// hash of the program itself. It is valid by the schema of CycloneDX.
func TestSBOM(t *testing.T) {
	r := made
	schema := cycloneDXSchema(t)
	purl := regexp.MustCompile(`^pkg:golang/[a-z0-9._~/-]+@[A-Za-z0-9._~%-]+$`)
	for _, platform := range platforms {
		for _, program := range programsFor(platform) {
			program = strings.TrimSuffix(program, ".exe")
			name := program + "_" + r.version + "_" + platform + ".cdx.json"
			bom, err := readSBOM(filepath.Join(r.out, name))
			if err != nil {
				t.Fatal(err)
			}
			result, err := schema.Validate(gojsonschema.NewStringLoader(r.read(t, name)))
			if err != nil || !result.Valid() {
				t.Errorf("%s is not valid: %v %v", name, err, result.Errors())
			}
			text := r.shipped(t, program, platform)
			hash := sha256.Sum256(text)
			c := bom.Metadata.Component
			if c.Name != program || c.Version != r.version || (*c.Hashes)[0].Value != hex.EncodeToString(hash[:]) {
				t.Errorf("%s: got the program %+v with %v", name, c, c.Hashes)
			}
			info, err := buildinfo.Read(bytes.NewReader(text))
			if err != nil || len(info.Deps) < 3 {
				t.Fatalf("%s: the program has too few modules: %v", name, err)
			}
			found := map[string]cdx.Component{}
			for _, c := range *bom.Components {
				found[c.Name+"@"+c.Version] = c
				if !purl.MatchString(c.PackageURL) || c.BOMRef != c.PackageURL {
					t.Errorf("%s: got the package URL %s, and the reference %s", name, c.PackageURL, c.BOMRef)
				}
			}
			for _, m := range info.Deps {
				if m.Replace != nil {
					m = m.Replace
				}
				if c, ok := found[m.Path+"@"+m.Version]; !ok || c.Hashes == nil {
					t.Errorf("%s: %s@%s is missing, or has no hash", name, m.Path, m.Version)
				}
			}
			if _, ok := found["std@"+info.GoVersion]; !ok || len(found) != len(info.Deps)+1 {
				t.Errorf("%s: got %d components, want %d modules and the standard library", name, len(found), len(info.Deps))
			}
			if d := *bom.Dependencies; len(d) != 1 || d[0].Ref != program || len(*d[0].Dependencies) != len(found) {
				t.Errorf("%s: got the dependencies %+v", name, d)
			}
		}
	}
}

// cycloneDXSchema reads the schema that the module brings for its own tests.
func cycloneDXSchema(t *testing.T) *gojsonschema.Schema {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) gojsonschema.JSONLoader {
		return gojsonschema.NewReferenceLoader("file://" + filepath.Join(strings.TrimSpace(string(dir)), "schema", name))
	}
	loader := gojsonschema.NewSchemaLoader()
	// The schema names these two by their addresses.
	for address, name := range map[string]string{"spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json"} {
		if err := loader.AddSchema("http://cyclonedx.org/schema/"+address, read(name)); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := loader.Compile(read("bom-" + specification.String() + ".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestPackageURL(t *testing.T) {
	for _, row := range [][3]string{
		{"github.com/BurntSushi/toml", "v1.6.0", "pkg:golang/github.com/burntsushi/toml@v1.6.0"},
		{"example.org/old", "v2.0.0+incompatible", "pkg:golang/example.org/old@v2.0.0%2Bincompatible"},
		{"std", "1.26.8", "pkg:golang/std@1.26.8"},
	} {
		if got := packageURL(row[0], row[1]); got != row[2] {
			t.Errorf("got %s, want %s", got, row[2])
		}
	}
}

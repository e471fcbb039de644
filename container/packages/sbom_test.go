package main

import (
	"debug/buildinfo"
	"os"
	"path/filepath"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// TestSBOM: a bill of materials has each module of the program, and the hash of the program
// itself.
func TestSBOM(t *testing.T) {
	r := made
	f, err := os.Open(filepath.Join(r.out, "sallyportd_1.2.3_linux_amd64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	program := r.program("linux", "amd64", "sallyportd")
	hash, err := hashOf(program)
	if err != nil {
		t.Fatal(err)
	}
	if c := bom.Metadata.Component; c.Name != "sallyportd" || c.Version != "1.2.3" || (*c.Hashes)[0].Value != hash {
		t.Errorf("got the program %+v with %v", c, c.Hashes)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) < 5 {
		t.Fatalf("the program has %d modules, want more", len(info.Deps))
	}
	found := map[string]cdx.Component{}
	for _, c := range *bom.Components {
		found[c.Name+"@"+c.Version] = c
	}
	for _, m := range info.Deps {
		if c, ok := found[m.Path+"@"+m.Version]; !ok || c.Hashes == nil {
			t.Errorf("%s@%s is missing, or has no hash", m.Path, m.Version)
		}
	}
	if len(found) != len(info.Deps)+1 {
		t.Errorf("got %d components, want %d modules and the standard library", len(found), len(info.Deps))
	}
}

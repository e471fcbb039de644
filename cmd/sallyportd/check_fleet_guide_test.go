package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFleetCodesInGuide: the guide lists each code of check about a fleet, and no other.
func TestFleetCodesInGuide(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]bool{}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			for _, found := range regexp.MustCompile(`warn\("(fleet-[a-z-]+)"`).FindAllStringSubmatch(read(t, file), -1) {
				code[found[1]] = true
			}
		}
	}
	guide := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(fleet-[a-z-]+)` \\|").FindAllStringSubmatch(read(t, "README.md"), -1) {
		if guide[found[1]] {
			t.Errorf("the guide lists %s twice", found[1])
		}
		guide[found[1]] = true
	}
	got, want := slices.Sorted(maps.Keys(guide)), slices.Sorted(maps.Keys(code))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("the guide lists %q, and check has %q", got, want)
	}
}

// TestFleetRightsInGuide: container/fleet-users grants each right of the guide, as the
// guide has it.
func TestFleetRightsInGuide(t *testing.T) {
	right := regexp.MustCompile(`(?m)^ *(etcdctl role grant-permission .*)$`)
	script := strings.NewReplacer(`"`, "", "$1", "gateway1").Replace(read(t, "../../container/fleet-users"))
	guide := right.FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(guide) == 0 {
		t.Error("the guide has no rights")
	}
	for _, line := range guide {
		if !strings.Contains(script, "  "+line[1]+"\n") {
			t.Errorf("container/fleet-users does not have: %s", line[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

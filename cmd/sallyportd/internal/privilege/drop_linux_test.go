package privilege

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"testing"

	"sallyport/bench/netns"
)

// TestDropAllThreads: no thread keeps a capability. A program with cgo reports that
// the runtime cannot do it.
func TestDropAllThreads(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	info, _ := debug.ReadBuildInfo()
	cgo := slices.Contains(info.Settings, debug.BuildSetting{Key: "CGO_ENABLED", Value: "1"})
	err := dropAllThreads()
	if cgo {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("with cgo: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(threads) == 0 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	some := regexp.MustCompile(`Cap(Prm|Eff|Inh|Amb):\s*0*[1-9a-f][0-9a-f]*`)
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if kept := some.FindAll(status, -1); err != nil || len(kept) > 0 {
			t.Errorf("%s: %q, %v", path, kept, err)
		}
	}
}

package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// TestGroups: a thread that acts as a user has that user's groups, and no other one: the
// system call for groups of 16 bits would read the first as two, one of them root's.
func TestGroups(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "file")
	p := target{path: path, given: path, impersonates: true, user: fileUser{uid: mallory, gid: mallory, groups: []int{other, 20, 65537}}}
	var status []byte
	err := p.runAsUser(func() (err error) {
		status, err = os.ReadFile("/proc/thread-self/status")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if groups, ok := strings.CutPrefix(line, "Groups:"); ok {
			if got := strings.Join(strings.Fields(groups), " "); got != "20 65533 65537" {
				t.Errorf("the groups are %s", got)
			}
			return
		}
	}
	t.Error("the status of the thread names no groups")
}

func TestParseRanges(t *testing.T) {
	all := parseRanges("         0          0 4294967295\n")
	few := parseRanges("         0     100000      65536\n     70000    4000000          1\n")
	for _, row := range []struct {
		uid      uint32
		all, few bool
	}{
		{0, true, true}, {65535, true, true}, {65536, true, false}, {69999, true, false}, {70000, true, true},
		{70001, true, false}, {1 << 31, true, false}, {1<<32 - 2, true, false}, {1<<32 - 1, false, false},
	} {
		if inRanges(all, row.uid) != row.all || inRanges(few, row.uid) != row.few {
			t.Errorf("%d: %v, %v", row.uid, inRanges(all, row.uid), inRanges(few, row.uid))
		}
	}
}

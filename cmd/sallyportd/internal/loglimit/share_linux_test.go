package loglimit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSharedBudget: a process that another one has started uses the same slots, and the
// holder has two more. A process with another file in the variable has its own.
func TestSharedBudget(t *testing.T) {
	if os.Getenv("CLAIM") != "" {
		b, n := SharedBudget(os.Getenv("CLAIM") == "holder"), 0
		for {
			if _, ok := b.claim(); !ok {
				break
			}
			n++
		}
		fmt.Printf("claimed %d, inherits %q\n", n, os.Getenv(shareVariable))
		return
	}
	claim := func(how string, env ...string) string {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSharedBudget$")
		cmd.Env = append(append(os.Environ(), "CLAIM="+how), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	if got := claim("server", shareVariable+"="); !strings.HasPrefix(got, "claimed 7, inherits \"30") {
		t.Errorf("without a page: %s", got)
	}
	b := SharedBudget(false)
	// Each child claims what this one leaves, in less than slotPause or not: of a slot that
	// is free again, one of them gets it.
	for range sharedSlots {
		b.claim()
	}
	for how, most := range map[string]int{"server": 0, "holder": ownSlots} {
		for i := range b.shared {
			b.shared[i].Store(b.now())
		}
		got := claim(how)
		if b.now()-b.shared[0].Load() >= int64(slotPause) {
			t.Skip("the host is too slow for this")
		}
		if want := fmt.Sprintf("claimed %d, inherits \"\"", most); got != want {
			t.Errorf("%s: %s", how, got)
		}
	}
	for i := range b.shared {
		b.shared[i].Store(1 << 62) // a process may write anything
	}
	if got := claim("server"); got != "claimed 7, inherits \"\"" {
		t.Errorf("times that are not of the clock: %s", got)
	}
	if got := claim("server", shareVariable+"=1"); !strings.HasPrefix(got, "claimed 7, inherits \"30") {
		t.Errorf("a wrong descriptor: %s", got)
	}
}

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestUses: an operation with a limit opens as often as that, also over a crash and with
// an older state directory; then its requests draw no challenge. The administrator can
// count from zero, with and without a server.
func TestUses(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`[[service]]
name = "web"
type = "web"
listen = "[::]:8080"
open_for = "60s"
[challenge]
` + n.operation("once-web", "service = \"web\"\nuses = 1") + n.operation("twice-web", "service = \"web\"\nuses = 2"))
	config := n.path("gate/sallyportd.toml")
	operation := func(args ...string) string {
		t.Helper()
		return n.run(nil, n.path("sallyportd"), append([]string{"operation"}, append(args, "-c", config)...)...)
	}
	lists := func(want ...string) {
		t.Helper()
		list := operation("list")
		for _, text := range want {
			if !strings.Contains(list, text) {
				t.Errorf("the list lacks %q:\n%s", text, list)
			}
		}
	}
	close := func() {
		t.Helper()
		n.run(nil, n.path("sallyportd"), "lease", "close", "--all", "-c", config)
		n.await("the service to close", func() bool { return !n.reaches(n.client, asClient+":8080") })
	}
	opens := func(id string) {
		t.Helper()
		n.request(id)
		n.opens(n.client, asClient+":8080")
		close()
	}
	silent := func(when, id string) {
		t.Helper()
		out, err := n.tryKnockFrom(n.client, id, "-v", "--attempts", "1", "--timeout", "1s")
		if err == nil || !strings.Contains(out, "received no challenge") || !strings.Contains(out, "or no use of it is left") || n.reaches(n.client, asClient+":8080") {
			t.Errorf("%s, %s: %v, %s\n%s", when, id, err, out, n.log())
		}
	}
	n.serve()
	n.operationProfile("once-web")
	n.operationProfile("twice-web")
	lists("1 of 1", "2 of 2")
	opens("once-web")
	silent("used up", "once-web")
	opens("twice-web")
	lists("0 of 1", "1 of 2")
	backup := n.path("backup")
	n.end(syscall.SIGKILL)
	lists("0 of 1", "1 of 2") // from the record
	if err := os.CopyFS(backup, os.DirFS(n.path("gate/state"))); err != nil {
		t.Fatal(err)
	}
	n.serve()
	silent("after a crash", "once-web")
	opens("twice-web")
	silent("used up over a crash", "twice-web")
	if got := n.counted(`msg="operation executed" operation=twice-web `); got != 2 || n.counted("uses_left=0") != 2 {
		t.Errorf("executed %d times\n%s", got, n.log())
	}
	resets := func(id, want string) {
		t.Helper()
		if out := operation("reset", id); !strings.Contains(out, want) {
			t.Error(out)
		}
	}
	resets("once-web", "may be used 1 time. The running server has applied the change.")
	opens("once-web")

	// The backup has an unused use of twice-web.
	n.end(syscall.SIGTERM)
	if err := os.RemoveAll(n.path("gate/state")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, n.path("gate/state")); err != nil {
		t.Fatal(err)
	}
	lists("none (record lost)")
	n.serve()
	n.await("the line in the log", func() bool { return n.logged("record of uses lost") == 1 })
	silent("with an older record", "twice-web")
	silent("with an older record", "once-web")
	lists("none (record lost)")
	out := n.run(nil, n.path("sallyportd"), "check", "-c", config)
	if strings.Count(out, "is unavailable: the record of its uses was lost") != 2 {
		t.Errorf("check: %s", out)
	}
	n.end(syscall.SIGTERM)
	resets("twice-web", "may be used 2 times. No server answers")
	n.serve()
	opens("twice-web")
	lists("1 of 2", "none (record lost)")
}

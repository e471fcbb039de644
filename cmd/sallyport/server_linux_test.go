package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/clitest"
)

func TestKnockScript(t *testing.T)    { runWithServer(t, "knock") }
func TestReloadScript(t *testing.T)   { runWithServer(t, "reload") }
func TestFirewallScript(t *testing.T) { runWithServer(t, "firewall") }
func TestStateScript(t *testing.T)    { runWithServer(t, "state") }
func TestWalkScript(t *testing.T)     { runWithServer(t, "walk") }

// runWithServer runs a script in which the client meets the real server,
// built for the purpose, in a network of its own.
func runWithServer(t *testing.T, script string) {
	if !netns.Enter(t) {
		return
	}
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin, "../sallyportd").CombinedOutput()
	if err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	clitest.Run(t, "testdata/server/"+script+".txtar", func(env *testscript.Env) error {
		env.Setenv("GORACE", "atexit_sleep_ms=0") // or each knock takes a second of its lease
		env.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH")+string(filepath.ListSeparator)+env.Getenv("PATH"))
		return nil
	})
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/cmd/internal/clitest"
)

func TestKnockScript(t *testing.T)          { long(t); runWithServer(t, "knock") }
func TestReloadScript(t *testing.T)         { long(t); runWithServer(t, "reload") }
func TestFirewallScript(t *testing.T)       { runWithServer(t, "firewall") }
func TestStateScript(t *testing.T)          { long(t); runWithServer(t, "state") }
func TestStateMoveScript(t *testing.T)      { runWithServer(t, "state_move") }
func TestGettingStartedScript(t *testing.T) { long(t); runWithServer(t, "getting_started") }

// runWithServer runs a script with the real client and server, in a new network
// namespace.
func runWithServer(t *testing.T, script string) {
	if !enter(t) {
		return
	}
	clitest.Run(t, "testdata/server/"+script+".txtar", func(env *testscript.Env) error {
		list := string(filepath.ListSeparator)
		env.Setenv("PATH", filepath.Join(os.Getenv(programs), "server")+list+env.Getenv("PATH"))
		return nil
	})
}

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// guideScript is the mac_command for a TPM in the guide.
var guideScript = regexp.MustCompile("(?s)<!-- run: client file tpm-hmac -->\n```text\n(.*?)```")

// TestTPM: a key in a TPM opens a service, by the guide's script. Neither the profile nor
// the record of nonces has the secret. It proves connections to a service, too. Without
// the TPM, nothing is sent.
func TestTPM(t *testing.T) {
	for _, tool := range []string{"swtpm", "tpm2_hmac", "basenc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("requires %s (the packages swtpm and tpm2-tools)", tool)
		}
	}
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.configure(`[[service]]
name = "web"
type = "web"
listen = ":8080"
bind = "connection"
open_for = "20s"`, "alice")
	n.serve()
	tpm, socket := startTPM(n)
	begin := fmt.Sprintf("set -e; cd '%s'; export XDG_CONFIG_HOME='%s' TPM2TOOLS_TCTI='swtpm:path=%s'; ", n.dir, n.path("config"), socket)
	sh := func(script string) string { return n.run(n.client, "sh", "-c", begin+script) }
	sh("./sallyport profile add alice.toml work")
	secret := strings.TrimSpace(sh(`sed -n "s/^secret = '\(.*\)'$/\1/p" alice.toml`))
	if len(secret) < 16 {
		t.Fatalf("the secret of the profile: %q", secret)
	}
	if err := os.WriteFile(n.path("key"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(`tpm2_createprimary -Q -C o -G ecc -c primary.ctx
tpm2_import -Q -C primary.ctx -G hmac -i key -u key.pub -r key.priv
tpm2_flushcontext -t
tpm2_load -Q -C primary.ctx -u key.pub -r key.priv -c key.ctx
tpm2_evictcontrol -Q -C o -c key.ctx 0x81010001
tpm2_flushcontext -t`)
	guide, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	script := guideScript.FindSubmatch(guide)
	if script == nil {
		t.Fatal("the guide has no script for a TPM")
	}
	if err := os.WriteFile(n.path("tpm-hmac"), script[1], 0o700); err != nil {
		t.Fatal(err)
	}
	out := sh("./sallyport profile set work --mac-command -- ./tpm-hmac")
	if !strings.Contains(out, "removed the key secret from ") {
		t.Error(out)
	}
	out = sh("./sallyport knock work --json")
	if !strings.Contains(out, `"opened":true`) || strings.Contains(out, "hint") {
		t.Errorf("%s\nserver: %s", out, n.log())
	}
	if out = sh("./sallyport run work -- curl -sS http://{host}:{port}/test1.html"); !strings.Contains(out, "<html") {
		t.Errorf("%s\nserver: %s", out, n.log())
	}
	if out, _ = n.try(nil, "grep", "-rl", secret, n.path("config"), n.path("client-state")); out != "" {
		t.Errorf("files with the secret: %s", out)
	}

	tpm.Process.Kill()
	tpm.Wait()
	out, err = n.try(n.client, "sh", "-c", begin+"./sallyport knock work")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, "mac_command: ERROR") {
		t.Errorf("without a TPM: %v\n%s", err, out)
	}
}

// startTPM starts an emulated TPM, and returns its socket.
func startTPM(n *network) (tpm *exec.Cmd, socket string) {
	n.t.Helper()
	dir := n.path("tpm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	socket = filepath.Join(dir, "socket")
	tpm = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	if err := tpm.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { tpm.Process.Kill(); tpm.Wait() })
	netns.Until(n.t, "the TPM", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return tpm, socket
}

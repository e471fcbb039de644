package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// TestServeWarnsOfBypass: a server logs at its start, once, which rules lead
// clients past a service, and starts nevertheless.
func TestServeWarnsOfBypass(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, config.FileName)
	makeGuests(t, dir)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte("127.0.0.1:8080"), []byte(":8080")), 0o600); err != nil {
		t.Fatal(err)
	}
	const rules = "add table ip nat\nadd chain ip nat pre { type nat hook prerouting priority dstnat; }\nadd rule ip nat pre tcp dport 8080 redirect to :9\n"
	nft := exec.CommandContext(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	listed := func() string {
		out, err := exec.CommandContext(t.Context(), "nft", "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	before := listed()
	check := exec.Command("/proc/self/exe", "check", "-c", path)
	check.Args[0] = "sallyportd"
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "ip nat pre") {
		t.Errorf("check: %v\n%s", err, out)
	}
	cmd := exec.Command("/proc/self/exe", "serve", "-c", path)
	cmd.Args[0] = "sallyportd"
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	var log []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		log = append(log, lines.Text())
		if strings.Contains(lines.Text(), "msg=serving") {
			break
		}
	}
	all := strings.Join(log, "\n")
	if !strings.Contains(all, "msg=serving") {
		t.Fatalf("the server does not serve:\n%s", all)
	}
	if n := strings.Count(all, "bypasses the guard"); n != 1 || !strings.Contains(all, `chain \"ip nat pre\"`) {
		t.Errorf("logged %d times:\n%s", n, all)
	}
	if after := listed(); after != before {
		t.Errorf("the rules were\n%s\nand are\n%s", before, after)
	}
}

package nftcheck

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestRangesOfPorts: a rule that concerns one port of a service's list or range is
// found, and a rule for its neighbours is not.
func TestRangesOfPorts(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	if !netns.Enter(t) {
		return
	}
	newWorld(t)
	cfg := configtest.Parse(t, "", "[[service]]\nname = \"site\"\ntype = \"firewall\"\nlisten = [\":21\", \":9000-9010\"]\n")
	for rule, drops := range map[string]bool{
		"tcp dport 21 drop": true, "tcp dport 9000 drop": true, "tcp dport 9005 drop": true, "tcp dport 9010-9020 drop": true,
		"tcp dport { 21, 9000-9010 } drop": true, "tcp dport 8999 drop": false, "tcp dport 22-8999 drop": false,
		"tcp dport 9011 drop": false, "udp dport 21 drop": false,
	} {
		script := fmt.Sprintf("flush ruleset\ntable inet filter { chain input { type filter hook input priority 0; %s; }; }", rule)
		if out, err := exec.CommandContext(t.Context(), "nft", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", rule, err, out)
		}
		found := false
		for _, w := range Check(cfg, config.Host{FilterTCP: true, FirstOpenPort: 1024}) {
			found = found || strings.Contains(w.String(), "packets for service site")
		}
		if found != drops {
			t.Errorf("%s: a warning: %v, want %v", rule, found, drops)
		}
	}
}

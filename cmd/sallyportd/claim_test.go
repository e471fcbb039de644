package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/gate/holder"
)

// TestExplainRefusal: a holder that answers, and refuses, is not reported as missing.
func TestExplainRefusal(t *testing.T) {
	t.Parallel()
	refused := fmt.Errorf("%w: another server has the firewall", holder.ErrRefused)
	err := explainHolder(refused, &config.Config{FirewallSocket: "/run/holder.sock"}, "stealth = true", false)
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) {
		t.Fatalf("no hint: %v", err)
	}
	got := err.Error() + " " + hinted.Hint()
	if strings.Contains(got, "no process was started") || !strings.Contains(got, "a holder answers at /run/holder.sock") {
		t.Errorf("got %q", got)
	}
}

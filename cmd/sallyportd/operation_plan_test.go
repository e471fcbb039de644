package main

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
)

// TestPageNeedsSecret: the page of an operation without a secret is refused. A browser
// signs nothing.
func TestPageNeedsSecret(t *testing.T) {
	m := profileMaker{cfg: &config.Config{Operations: []config.Operation{{ID: "signed", Service: "web"}}}}
	_, err := m.page("signed", "https://www.example.org")
	if err == nil || !strings.Contains(err.Error(), "operation signed has no secret") {
		t.Errorf("got %v", err)
	}
}

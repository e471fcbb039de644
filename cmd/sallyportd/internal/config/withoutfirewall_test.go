package config_test

import (
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
)

// TestWithoutFirewall: the advice appears only where it is enough.
func TestWithoutFirewall(t *testing.T) {
	filtered := strings.TrimSpace(configtest.Web) + "\nlook = \"filtered\"\n"
	ssh := "[[service]]\nname = \"ssh\"\ntype = \"firewall\"\nlisten = \":22\"\n"
	const advice = "set look = \"closed\" for web, which requires no privilege"
	for _, row := range []struct {
		keys      string
		filterTCP bool
		want      string
	}{
		{filtered, false, advice}, {filtered, true, ""}, {configtest.Web, false, ""},
		{filtered + ssh, false, ""}, {"stealth = true\n" + filtered, false, ""},
	} {
		cfg := configtest.Parse(t, "", row.keys)
		if got := cfg.WithoutFirewall(config.Host{FilterTCP: row.filterTCP}); got != row.want {
			t.Errorf("%s with %t: %q", row.keys, row.filterTCP, got)
		}
	}
}

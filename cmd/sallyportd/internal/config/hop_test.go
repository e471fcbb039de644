package config_test

import (
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/verify/schedule"
)

const hops = configtest.Web + "[challenge]\nports = \"8192-32767\"\nhop = 4096\n"

func TestHop(t *testing.T) {
	cfg := configtest.Parse(t, "", hops+anOperation)
	p := cfg.Challenge.Plan
	// 36 packets of 256 ports, in 4096 places.
	if p.Hop != 4096 || p.Request.Base != 8192 || p.Response.Base != 8192+9216+4095 {
		t.Errorf("%+v", p)
	}
	without := configtest.Parse(t, "", strings.Replace(hops, "hop", "# hop", 1)+anOperation)
	err := without.Changed(cfg, true)
	if err == nil || !strings.Contains(err.Error(), "challenge.hop has changed, which requires a restart") {
		t.Errorf("a reload: %v", err)
	}
	if keys := without.ProfileChanges(cfg); len(keys) != 1 || keys[0] != "challenge" {
		t.Errorf("the profiles' keys: %v", keys)
	}
}

func TestHopRefuses(t *testing.T) {
	service := "[[service]]\nname = \"two\"\ntype = \"firewall\"\nprotocol = \"udp\"\nlisten = \":29000\"\n"
	delays := "[challenge.request]\nscheme = \"delays\"\ndata_bits = 8\ndelay = \"%\"\n"
	for keys, want := range map[string]string{
		hops:                                      "",
		strings.Replace(hops, "4096", "0", 1):     "",
		strings.Replace(hops, "4096", "1", 1):     "challenge.hop: expected 0, or a number of bases to draw from, up to 32768, got 1, with which nothing would move",
		strings.Replace(hops, "4096", "-1", 1):    "challenge.hop: expected 0, or a number of bases",
		strings.Replace(hops, "4096", "32769", 1): "challenge.hop: expected 0, or a number of bases",
		// In the last minutes, the ports would leave the range, or the host.
		strings.Replace(hops, "32767", "30000", 1):   `requires ports`,
		configtest.Web + "[challenge]\nhop = 2000\n": `requires ports`,
		hops + "[challenge.request]\nbase = 62000\n": `expected ports up to 65535`,
		// The requests of one minute have the ports of responses of another.
		hops + "[challenge.response]\nbase = 15000\n": `overlap those of responses`,
		// A service at a port that the messages have in some minutes only.
		service + hops: `which contains UDP port 29000 of service two`,
		hops + strings.Replace(delays, "%", "500ms", 1): "",
		hops + strings.Replace(delays, "%", "1s", 1):    "challenge.hop: expected 0, or a number of bases to draw from, up to 32768, got 4096, with requests that last up to 35s; they may last half of clock_tolerance, 30s",
	} {
		_, err := config.Parse("c.toml", []byte(configtest.Text(keys+anOperation)))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", keys, err, want)
		}
	}
}

// TestHopKeys: while the port secret is replaced, the hops of both secrets are accepted,
// until the date.
func TestHopKeys(t *testing.T) {
	until := time.Unix(1_800_000_000, 0)
	keys := config.PortSecret{Current: "new", Previous: "old", Until: until}.HopKeys()
	m := schedule.MinuteOf(until)
	if got := keys(m - 1); len(got) != 2 || got[0] != schedule.HopKeyOf("new") || got[1] != schedule.HopKeyOf("old") {
		t.Errorf("before: %x", got)
	}
	if got := keys(m + 1); len(got) != 1 || got[0] != schedule.HopKeyOf("new") {
		t.Errorf("after: %x", got)
	}
	if got := (config.PortSecret{Current: "new"}).HopKeys()(m); len(got) != 1 {
		t.Errorf("without a previous one: %x", got)
	}
}

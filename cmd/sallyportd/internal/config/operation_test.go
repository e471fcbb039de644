package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestUntilClosed: an operation may open without an end, and nothing else may; which
// operations close what another one opens; and which open without a client.
func TestUntilClosed(t *testing.T) {
	operation := func(id, more string) string {
		return fmt.Sprintf("[[operation]]\nid = %q\nsecret = \"a secret\"\nservice = \"web\"\n%s\n", id, more)
	}
	const challenge = minimal + "open_max = \"10s\"\n[challenge]\n"
	for text, want := range map[string]string{
		challenge + operation("alice", `open_for = "until-closed"`):                       "",
		challenge + operation("alice", "open_for = \"until-closed\"\nport = \"random\""):  `open_for: expected a duration such as "30s", from 1s, and not longer than the service's open_max; or "until-closed", got "until-closed" for an operation with port = "random"`,
		challenge + operation("alice", "open_for = \"until-closed\"\naction = \"close\""): `open_for: expected a duration such as "30s", from 1s, and not longer than the service's open_max; or "until-closed", got "until-closed" for an operation with action = "close"`,
		challenge + operation("alice", `open_for = "Until-Closed"`):                       `open_for: expected a duration`,
		challenge + operation("alice", `open_for = ""`):                                   `open_for: expected a duration`,
		challenge + operation("alice", `open_for = "11s"`):                                `whose open_max is 10s`,
		minimal + `open_for = "until-closed"`:                                             `got "until-closed", which only open_for of an [[operation]] may be`,
		minimal + `open_max = "until-closed"`:                                             `open_max: expected a duration`,
		challenge + operation("alice", `open_for = "Until_Closed"`):                       `got "Until_Closed"; did you mean "until-closed"?`,
		challenge + operation("alice", `data_bits = 9`):                                   `unknown key "data_bits"; it is a key of [challenge.request]`,
	} {
		_, err := Parse("c.toml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
	cfg, err := Parse("c.toml", []byte(challenge+operation("hold1", "open_for = \"until-closed\"\nclient = \"com1\"")+
		operation("free1", "action = \"close\"\nclient = \"com1\"")+operation("free2", `action = "close"`)+operation("open2", `open_for = "5s"`)+
		operation("hold3", `open_for = "until-closed"`)))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, o := range cfg.Operations {
		for _, other := range cfg.Operations {
			if o.Closes(other) {
				got += o.ID + ">" + other.ID + " "
			}
		}
		got += fmt.Sprintf("%s:%v:%s ", o.ID, o.UntilClosed, o.Lasts())
	}
	const want = "hold1:true:until-closed free1>hold1 free1:false: free2>open2 free2>hold3 free2:false: open2:false:5s hold3:true:until-closed "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if ids := fmt.Sprint(cfg.OpeningWithoutClient()); ids != "[open2 hold3]" {
		t.Errorf("without a client: %s", ids)
	}
	const described = "hold1: opens service web until it is closed, by Algorithm 2, for client com1"
	if got := cfg.Operations[0].Describe(); got != described {
		t.Error(got)
	}
}

// TestUses: which operations may have a limit, and how it is described.
func TestUses(t *testing.T) {
	parse := func(more string) (*Config, error) {
		return Parse("c.toml", fmt.Appendf(nil, "%s[challenge]\n[[operation]]\nid = \"alice\"\nsecret = \"a secret\"\nservice = \"web\"\n%s\n", minimal, more))
	}
	const expected = "uses: expected how often it may be used, a whole number from 1 to 1000000, got "
	for more, want := range map[string]string{
		"uses = 0":                          expected + "0",
		"uses = -1":                         expected + "-1",
		"uses = 1000001":                    expected + "1000001",
		"uses = \"once\"":                   "uses: expected how often",
		"uses = 1\naction = \"close\"":      "the service would stay open",
		"uses = 1\nopen_for = \"1h\"":       "open_max",
		"uses = 1000000\nport = \"random\"": "",
	} {
		if _, err := parse(more); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	for more, want := range map[string]string{
		"":                                    "for any client that has its secret",
		"uses = 1":                            "for any client that has its secret, once",
		"uses = 2\nfrom = [\"192.0.2.0/24\"]": "for any client that has its secret, from 192.0.2.0/24, 2 times",
	} {
		cfg, err := parse(more)
		if err != nil || !strings.HasSuffix(cfg.Operations[0].Describe(), ", by Algorithm 2, "+want) {
			t.Errorf("%s: %v, %v", more, cfg, err)
		}
	}
}

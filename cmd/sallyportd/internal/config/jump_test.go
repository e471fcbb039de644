package config

import (
	"strings"
	"testing"
)

// TestJump: the firewall of a service with jump has it, and a holder without it has
// another digest.
func TestJump(t *testing.T) {
	texts := map[string]string{"": "", "mine": "jump = \"mine\"\n", "other": "jump = \"other\"\n"}
	digests := map[any]bool{}
	for want, key := range texts {
		c, err := Parse("c.toml", []byte(minimal+serviceText("two", ":81", "firewall")+key))
		if err != nil {
			t.Fatal(err)
		}
		digests[c.Digest()] = true
		if p := c.Firewall().Ports; p[0].Jump != "" || p[1].Jump != want || c.Services[1].Jump() != want {
			t.Errorf("%q: %+v", want, p)
		}
		if text := c.Services[1].Describe(); strings.Contains(text, "run through the chain "+want) != (want != "") {
			t.Error(text)
		}
	}
	if len(digests) != len(texts) {
		t.Error("holders with other chains have the same digest")
	}
}

// TestJumpRefuses: the chain's name must be one that nft can read, and that the table
// does not use itself. Random ports do not pass the chain.
func TestJumpRefuses(t *testing.T) {
	const expected = `expected the name of your chain in the table inet sallyport: a letter, then letters, digits, "_" and "-", at most 31 characters, `
	const operation = "[challenge]\n[[operation]]\nid = \"alice\"\nsecret = \"a secret\"\nservice = \"two\"\n"
	two := minimal + serviceText("two", ":81", "firewall")
	for text, want := range map[string]string{
		minimal + `jump = "x"`:                           "service 1: jump: " + expected + `got it for a service of type "web"`,
		two + `jump = "2x"`:                              "c.toml:12: service 2: jump: " + expected + `got "2x"`,
		two + `jump = ""`:                                expected + `got ""`,
		two + `jump = "a b"`:                             expected + `got "a b"`,
		two + `jump = "a\n"`:                             expected + `got "a\n"`,
		two + `jump = "ä"`:                               expected + `got "ä"`,
		two + `jump = "` + strings.Repeat("x", 32) + `"`: `xxx", with 32 characters`,
		two + `jump = "input"`:                           `got "input", the name of a chain or set that sallyportd itself may make`,
		two + `jump = "tcp_81"`:                          `got "tcp_81", the name of a chain or set that sallyportd itself may make`,
		two + `jump = "limits"`:                          `got "limits", a word of nft, which cannot read it as a name`,
		two + "jump = \"mine\"\n" + operation + `port = "random"`: `got "random" for service two, which has jump = "mine"`,
		two + "jump = \"mine\"\n" + operation:                     "",
	} {
		_, err := Parse("c.toml", []byte(text+"\n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/verify/challenge/exchange"
)

const (
	testHostKey = "sallyport-host-key-secret-1:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
	plainKey    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g alice@laptop"
	rsaKey      = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDEbKq5U57fhzQ3SBbs3NVmgY2ouYZfPhc6cXBNEFpRT3T100fnbkYw+EHi76nwsp+uGxk08kh4GG881DrgotptrJj2dJxXpWp/SFdVu5S9fFU6l6dCTC9IBYYCCV8PvXbBZ3oDZyyyJT7/vXSaUdbk3x9MeNlYrgItm2KY6MdHYw=="
	wide        = "[challenge.request]\nrestart = 20\n[challenge.response]\nrestart = 20\n"
)

// securityKey is the line of a security key.
var securityKey = exchange.PublicKey{Key: [32]byte{7}, Application: "ssh:"}.String()

func keyNumber(n int) string { return exchange.PublicKey{Key: [32]byte{byte(n), 1}}.String() }

// signedText is a configuration with an operation that has public keys.
func signedText(keys string) string {
	return minimal + "[challenge]\nhost_key_file = \"host.key\"\n" + wide + "[[operation]]\nid = \"web-alice\"\nservice = \"web\"\n" + keys + "\n"
}

func TestPublicKeysRefuse(t *testing.T) {
	var many []string
	for n := range exchange.MaxKeys + 1 {
		many = append(many, fmt.Sprintf("%q", keyNumber(n)))
	}
	list := func(lines ...string) string {
		for i := range lines {
			lines[i] = fmt.Sprintf("%q", lines[i])
		}
		return "keys = [" + strings.Join(lines, ", ") + "]"
	}
	const keys = "keys: expected a list of 1 to 16 public keys in quotes, such as [\"ssh-ed25519 AAAA…\"], all of one type, "
	for text, want := range map[string]string{
		signedText(list(plainKey)):                                                                         "",
		signedText(list(plainKey) + "\nalgorithm = 3\nport = \"random\""):                                  "",
		signedText("keys_file = \"alice.pub\""):                                                            "",
		signedText(list("no-touch-required " + securityKey)):                                               "",
		signedText(list("# alice", plainKey, "")):                                                          "",
		signedText("keys = [" + strings.Join(many[1:], ", ") + "]"):                                        "",
		signedText("keys = [" + strings.Join(many, ", ") + "]"):                                            keys + "got 17 keys; an operation has at most 16",
		signedText("keys = []"):                                                                            keys + "got none",
		signedText("keys_file = \"\""):                                                                     "keys_file: expected the path of a file with public keys, as authorized_keys, got nothing",
		signedText(list("alice")):                                                                          keys + "line 1: expected a public key as in authorized_keys",
		signedText(list(plainKey, rsaKey)):                                                                 keys + `line 2: expected a key of type ssh-ed25519 or sk-ssh-ed25519@openssh.com, got "ssh-rsa"`,
		signedText(list(plainKey, securityKey)):                                                            keys + "line 2: got a key of type sk-ssh-ed25519@openssh.com after one of type ssh-ed25519",
		signedText(list(plainKey, plainKey)):                                                               keys + "line 2: the key occurs twice",
		signedText(list("cert-authority " + plainKey)):                                                     keys + "line 1: got the option cert-authority; certificates are not possible",
		signedText(list("cert-authority " + rsaKey)):                                                       keys + "line 1: got the option cert-authority; certificates are not possible",
		signedText(list(`from="192.0.2.0/24" ` + plainKey)):                                                keys + "line 1: got the option from; only no-touch-required and verify-required are possible",
		signedText(list(`restrict,command="true" ` + plainKey)):                                            keys + "line 1: got the option restrict; only",
		signedText(list(plainKey + "\r" + keyNumber(2))):                                                   keys + "line 1: got a carriage return",
		signedText(list("# alice\r" + plainKey)):                                                           keys + "line 1: got a carriage return",
		signedText(list(plainKey + "\r")):                                                                  "",
		signedText(list(`command="x" ` + plainKey)):                                                        keys + "line 1: got the option command; only",
		signedText(list("# alice", `expiry-time="20300101" `+plainKey)):                                    keys + "line 2: got the option expiry-time; only",
		signedText(list(`no-touch-required,from="x" ` + securityKey)):                                      keys + "line 1: got the option from; only",
		signedText(list(`FROM="no-touch-required" ` + securityKey)):                                        keys + "line 1: got the option from; only",
		signedText(list(exchange.PublicKey{Key: [32]byte{1}}.String())):                                    keys + "line 1: the public key is weak",
		signedText(list("verify-required " + plainKey)):                                                    keys + "line 1: got an option of security keys for another key",
		signedText(list(plainKey) + "\nkeys_file = \"alice.pub\""):                                         "keys_file: expected the path of a file with public keys, as authorized_keys, got keys as well",
		signedText(list(plainKey) + "\nsecret = \"s\""):                                                    "secret: expected the operation's secret, as text in quotes; or secret_file instead, got public keys as well",
		signedText(list(plainKey) + "\nsecret_file = \"s\""):                                               "got public keys as well",
		signedText(list(plainKey) + "\nalgorithm = 2"):                                                     "algorithm: expected 1, 2 or 3, got 2; an operation with public keys has Algorithm 3",
		strings.Replace(signedText(list(plainKey)), "host_key_file", "# ", 1):                              `challenge.host_key_file: expected the path of a file with the host key, which sallyportd host-key create makes, got nothing, but operation "web-alice" has public keys`,
		strings.Replace(signedText(list(plainKey)), "restart = 20\n[[", "[[", 1):                           `response: encoding "ranges" requires ports 21504 to 37887, but only 16384 to 30719 are watched`,
		strings.Replace(signedText(list(plainKey)), wide, "shared_ports = true\n"+wide, 1):                 "must not share ports if an operation has public keys",
		strings.Replace(signedText(list(plainKey)), "restart = 20\n[challenge.resp", "[challenge.resp", 1): "overlap those of responses",
	} {
		_, err := Parse("c.toml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// TestLongerMessagesHint: the hint is for encodings that have too little room, and for no
// other fault.
func TestLongerMessagesHint(t *testing.T) {
	keys := fmt.Sprintf("keys = [%q]", plainKey)
	for text, want := range map[string]bool{
		strings.Replace(signedText(keys), wide, "", 1):                                      true,
		strings.Replace(signedText(keys), wide, "shared_ports = true\n"+wide, 1):            false,
		strings.Replace(signedText(keys), wide, "[challenge.request]\ndata_bits = 14\n", 1): false,
	} {
		_, err := Parse("c.toml", []byte(text))
		var h interface{ Hint() string }
		if got := errors.As(err, &h) && strings.Contains(h.Hint(), "set restart = 20"); err == nil || got != want {
			t.Errorf("%v, %v\n%s", err, h, text)
		}
	}
}

// TestPublicKeysFile: Load reads the keys and the host key. A file without keys
// disables the operation; it is no reason to keep the keys from before.
func TestPublicKeysFile(t *testing.T) {
	for name, c := range map[string]struct {
		keys, host, wants string
		mode              os.FileMode
	}{
		"right":            {plainKey + "\n\n# bob\n" + keyNumber(2), testHostKey, "", 0o644},
		"security key":     {"verify-required " + securityKey, testHostKey, "", 0o644},
		"none":             {"# nobody\n", testHostKey, "", 0o644},
		"wrong":            {plainKey + "\nssh-ed25519 AAAA", testHostKey, "alice.pub: line 2: expected a public key", 0o644},
		"others may write": {plainKey, testHostKey, "alice.pub", 0o666},
		"too large":        {strings.Repeat("#\n", maxKeysFile/2) + "#", testHostKey, "expected at most 65536 bytes", 0o644},
		"public host key":  {plainKey, "sallyport-host-key-1:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=", "this is the public key; expected the private one", 0o644},
	} {
		dir := files(t, map[string]string{"c.toml": signedText(`keys_file = "alice.pub"`), "host.key": c.host + "\n", "alice.pub": c.keys})
		for path, mode := range map[string]os.FileMode{filepath.Join(dir, "alice.pub"): c.mode, filepath.Dir(dir): 0o755} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		cfg, err := Load(filepath.Join(dir, "c.toml"), Secrets)
		if (err == nil) != (c.wants == "") || err != nil && (!strings.Contains(err.Error(), c.wants) || strings.Contains(err.Error(), "AQID")) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		o := cfg.Operations[0]
		list, disabled := cfg.Usable(nil)
		wantsKeys := map[string]int{"right": 2, "security key": 1}[name]
		if !o.Signed || len(o.Keys) != wantsKeys || o.Algorithm != exchange.Mutual || len(list) != min(wantsKeys, 1) || len(disabled) != 1-min(wantsKeys, 1) {
			t.Errorf("%s: %d keys, %d usable, %q", name, len(o.Keys), len(list), disabled)
		}
		if name == "security key" && !o.Keys[0].VerifyRequired {
			t.Error("the option is lost")
		}
		if _, err := Protocol(list, cfg.Challenge.HostKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecurityKeysInFileFit: the type of the keys shows only in their file, and
// decides whether the encodings have room.
func TestSecurityKeysInFileFit(t *testing.T) {
	exact := strings.Replace(signedText(`keys_file = "alice.pub"`), "[challenge.response]\nrestart = 20\n",
		"[challenge.response]\nscheme = \"sequence\"\nbase = 25600\ndata_bits = 8\nsequence_bits = 6\n", 1)
	exact = strings.Replace(exact, "[challenge]\n", "[challenge]\nports = \"16384-45000\"\n", 1)
	for key, want := range map[string]string{securityKey: "got 69 packets", plainKey: ""} {
		dir := files(t, map[string]string{"c.toml": exact, "host.key": testHostKey, "alice.pub": key})
		_, err := Load(filepath.Join(dir, "c.toml"), Secrets)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestHostKeyChanges: then the profiles of such operations are outdated.
func TestHostKeyChanges(t *testing.T) {
	load := func(key string) *Config {
		dir := files(t, map[string]string{"c.toml": signedText(fmt.Sprintf("keys = [%q]", plainKey)), "host.key": key})
		cfg, err := Load(filepath.Join(dir, "c.toml"), Secrets)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	one, two := load(testHostKey), load(strings.Replace(testHostKey, ":AQID", ":CQID", 1))
	got := fmt.Sprint(one.ProfileChanges(two), one.ProfileChanges(load(testHostKey)))
	if got != "[challenge.host_key_file] []" {
		t.Error(got)
	}
	d := one.Operations[0].Describe()
	if d != "web-alice: opens service web, by Algorithm 3, for any client that has one of its keys" {
		t.Error(d)
	}
}

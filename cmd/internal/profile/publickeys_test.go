package profile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestPublicKeys: a profile of an operation with public keys has no secret, and names
// where the private key is.
func TestPublicKeys(t *testing.T) {
	host, err := exchange.NewHostKey(bytes.NewReader(bytes.Repeat([]byte{9}, exchange.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	one, two := exchange.PublicKey{Key: [32]byte{3}}, exchange.PublicKey{Key: [32]byte{2}}
	security := exchange.PublicKey{Key: [32]byte{3}, Application: "ssh:"}
	ranges := challenge.Encoding{Scheme: challenge.Ranges, Base: 10000, DataBits: 8, Restart: 20}
	responses := ranges
	responses.Base = 25600
	text, err := profilefile.FormatOperation(profilefile.Operation{
		Server: "gate.example", ID: "web-alice", Algorithm: exchange.Mutual, Service: ":8080", HostKey: host.Public(),
		PublicKeys: []exchange.PublicKey{one, two}, Request: ranges, Response: responses,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := parseBoth(t, text)
	if err != nil || !p.Challenge.Operation.Signed() || !p.Challenge.Agent || len(p.Challenge.PublicKeys) != 2 ||
		p.Challenge.Operation.ResponseSize() != exchange.SignatureSize || p.HasSequence() || strings.Contains(string(text), "secret") {
		t.Errorf("%+v, %v, of\n%s", p.Challenge, err, text)
	}
	replace := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(string(text)) }
	for _, right := range []string{
		replace("algorithm = 3\n", ""), replace("agent = true", "key = \"~/.ssh/id_ed25519\""), replace(one.String(), security.String(), ", '"+two.String()+"'", ""),
	} {
		if p, err := parseBoth(t, []byte(right)); err != nil || p.Challenge.Operation.Algorithm() != exchange.Mutual {
			t.Errorf("%v\n%s", err, right)
		}
	}
	private := host.Secret()
	for want, wrong := range map[string]string{
		"challenge.secret: ":                       replace("algorithm", "secret = \"a secret\"\nalgorithm"),
		"challenge.algorithm: ":                    replace("algorithm = 3", "algorithm = 2"),
		"challenge.key: expected with host_key, t": replace("agent = true\n", ""),
		"challenge.agent: ":                        replace("agent = true", "agent = true\nkey = \"/k\""),
		`challenge.key: expected with host_key, the path of the private key, absolute or with ~/ at the beginning; or agent instead, got "k"`: replace("agent = true", "key = \"k\""),
		"got keys of the types ssh-ed25519 and sk-ssh":                     replace(two.String(), security.String()),
		"entry 2: expected":                                                replace(two.String(), "nonsense"),
		"challenge.public_keys: expected with host_key, a list of 1 to 16": replace("["+"'"+one.String()+"', '"+two.String()+"']", "[]"),
		"challenge.host_key: expected the public host key of the server, for an operation with public keys, such as \"sallyport-host-key-1:…\", this is the private key":                          replace(host.String(), private),
		"challenge.public_keys: expected with host_key, a list of 1 to 16 public keys in quotes that the server knows, such as [\"ssh-ed25519 AAAA…\"], all of one type, got it without host_key": replace("host_key", "secret = \"s\" #"),
		"expected ports up to 65535": replace("base = 25600", "base = 62000"),
	} {
		_, err := parseBoth(t, []byte(wrong))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), private[40:]) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	// A reader gives the profile its signer, and reads no key yet.
	path := filepath.Join(t.TempDir(), "p.toml")
	if err := os.WriteFile(path, []byte(replace("agent = true", "key = \"/does/not/exist\"")), 0o600); err != nil {
		t.Fatal(err)
	}
	stored, s, err := Reader{}.LoadStored(t.Context(), path)
	if err != nil || stored.Challenge.Key == nil || s.LacksSecret() {
		t.Fatalf("%v, lacks a secret: %v", err, s.LacksSecret())
	}
	err = stored.Challenge.Key.Prepare(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Error(err)
	}
}

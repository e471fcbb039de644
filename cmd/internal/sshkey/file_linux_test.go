package sshkey

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"sallyport/sessions/client"
	"sallyport/verify/challenge/exchange"
)

func saying(text string) Ask {
	return func(context.Context, string) (string, error) { return text, nil }
}

func (o openSSH) write(name, text string) {
	o.t.Helper()
	if err := os.WriteFile(o.path(name), []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o openSSH) read(name string) string {
	o.t.Helper()
	text, err := os.ReadFile(o.path(name))
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text)
}

// securityFile is the file of a security key, as ssh-keygen -t ed25519-sk writes it,
// except for the handle.
func securityFile() string {
	public := exchange.PublicKey{Key: [32]byte{9}, Application: "ssh:"}
	private := field(field(field([]byte{1, 2, 3, 4, 1, 2, 3, 4}, public.Type()), string(public.Key[:])), public.Application)
	private = field(field(field(append(private, 1), "handle"), ""), "comment")
	blob := field(field(field([]byte("openssh-key-v1\x00"), "none"), "none"), "")
	blob = field(append(blob, 0, 0, 0, 1), string(public.Marshal()))
	return string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: field(blob, string(private))}))
}

// TestFileRefuses: each wrong file has an error that names it once, and most have a hint.
// No error has a part of the file.
func TestFileRefuses(t *testing.T) {
	o := newOpenSSH(t)
	alice, locked := []exchange.PublicKey{o.public("alice")}, []exchange.PublicKey{o.public("locked")}
	text := o.read("alice")
	units := utf16.Encode([]rune("\ufeff" + text))
	wide := make([]byte, 0, 2*len(units))
	for _, u := range units {
		wide = append(wide, byte(u), byte(u>>8))
	}
	for name, text := range map[string]string{
		"nonsense": "nonsense", "empty": "", "half": text[:len(text)/2], "public": o.read("alice.pub"), "security": securityFile(),
		"two": o.read("ecdsa") + text, "utf16": string(wide), "large": text + strings.Repeat("\n", maxKeyFile), "shared": text,
		"pkcs1": "-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n",
	} {
		o.write(name, text)
	}
	// A closed directory would protect the shared file.
	err := errors.Join(os.Chmod(o.path("shared"), 0o644), os.Chmod(o.dir, 0o755), os.Chmod(filepath.Dir(o.dir), 0o755))
	if err = errors.Join(err, syscall.Mkfifo(o.path("fifo"), 0o600), os.Mkdir(o.path("directory"), 0o700)); err != nil {
		t.Fatal(err)
	}
	cancelled := func(context.Context, string) (string, error) { return "", errors.New("no terminal") }
	unasked := func(context.Context, string) (string, error) { t.Error("asked"); return "", errors.New("asked") }
	for _, c := range []struct {
		name string
		keys []exchange.PublicKey
		ask  Ask
		want string
		hint string
	}{
		{"mallory", alice, nil, "is none of public_keys in the profile", "the server knows " + Fingerprint(alice[0])},
		{"locked", alice, unasked, "is none of public_keys in the profile", "the server knows " + Fingerprint(alice[0])},
		{"ecdsa", alice, nil, "expected an Ed25519 private key, got one of type ecdsa", "ssh-keygen -t ed25519"},
		{"two", alice, nil, "expected an Ed25519 private key, got one of type ecdsa", "ssh-keygen -t ed25519"},
		{"nonsense", alice, nil, "expected an Ed25519 private key in the format", "puttygen"},
		{"pkcs1", alice, nil, "expected an Ed25519 private key in the format", "puttygen"},
		{"empty", alice, nil, "expected an Ed25519 private key in the format", "puttygen"},
		{"half", alice, nil, "expected an Ed25519 private key in the format", "puttygen"},
		{"security", alice, nil, "got the file of a security key", "agent = true"},
		{"alice.pub", alice, nil, "got that of a public one", `alice"`},
		{"public", alice, nil, "got that of a public one", "file of the private key"},
		{"utf16", alice, nil, "expected UTF-8 text, got UTF-16LE", "iconv"},
		{"large", alice, nil, "at most 65536 bytes", ""},
		{"missing", alice, nil, "no such file", "agent = true"},
		{"fifo", alice, nil, "expected a regular file, got a special file", ""},
		{"directory", alice, nil, "expected a regular file, got a directory", ""},
		{"shared", alice, nil, "others may read", "chmod 600"},
		{"locked", locked, saying("wrong"), "wrong passphrase", ""},
		{"locked", locked, cancelled, "no terminal", ""},
		{"locked", locked, nil, "has a passphrase, which this command does not ask for", ""},
	} {
		s := For(client.Challenge{KeyFile: o.path(c.name), PublicKeys: c.keys}, c.ask, nil)
		err := s.Prepare(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), o.path(c.name)) != 1 ||
			!strings.Contains(hintOf(err), c.hint) || strings.Contains(err.Error()+hintOf(err), "b3BlbnNzaC") {
			t.Errorf("%s: got %v\nhint: %s", c.name, err, hintOf(err))
		}
	}
}

// TestFileForms: files that editors and other programs have written.
func TestFileForms(t *testing.T) {
	o := newOpenSSH(t)
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := exchange.PublicKey{Key: [ed25519.PublicKeySize]byte(private.Public().(ed25519.PublicKey))}
	text := o.read("alice")
	for name, f := range map[string]struct {
		text string
		key  exchange.PublicKey
	}{
		"lines of Windows": {strings.ReplaceAll(text, "\n", "\r\n"), o.public("alice")},
		"byte order mark":  {"\ufeff" + text, o.public("alice")},
		"comments":         {"# alice's key\n\n" + text + "\n# the end\n", o.public("alice")},
		"the first of two": {text + o.read("mallory"), o.public("alice")},
		"PKCS#8":           {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), pkcs8},
	} {
		o.write("form", f.text)
		s := For(client.Challenge{KeyFile: o.path("form"), PublicKeys: []exchange.PublicKey{f.key}}, nil, nil)
		if err := s.Prepare(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if response, err := s.Sign(t.Context(), toSign("m")); err != nil || !f.key.Verifies(toSign("m"), response) {
			t.Errorf("%s: %x, %v", name, response, err)
		}
	}
}

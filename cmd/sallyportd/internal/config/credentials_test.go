package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCredentialPaths: only the prefix $CREDENTIALS_DIRECTORY/ is replaced.
func TestCredentialPaths(t *testing.T) {
	for _, c := range []struct{ directory, path, want string }{
		{"/run/credentials/x", "$CREDENTIALS_DIRECTORY/key.pem", "/run/credentials/x/key.pem"},
		{"/run/credentials/x", "key.pem", "/etc/sallyport/key.pem"},
		{"/run/credentials/x", "", ""},
		{"/run/credentials/x", "/etc/$CREDENTIALS_DIRECTORY/key.pem", "/etc/$CREDENTIALS_DIRECTORY/key.pem"},
		{"/run/credentials/x", "$CREDENTIALS_DIRECTORY.pem", "/etc/sallyport/$CREDENTIALS_DIRECTORY.pem"},
		{"/run/credentials/x", "$HOME/key.pem", "/etc/sallyport/$HOME/key.pem"},
		{"", "$CREDENTIALS_DIRECTORY/key.pem", "$CREDENTIALS_DIRECTORY/key.pem"},
	} {
		t.Setenv(credentials, c.directory)
		if got := resolveSecret("/etc/sallyport", c.path); got != c.want {
			t.Errorf("%q in %q: got %q, want %q", c.path, c.directory, got, c.want)
		}
	}
}

// TestUnsetCredentials: an error names the key, the variable, and what sets it. A command
// that reads no secret accepts the configuration.
func TestUnsetCredentials(t *testing.T) {
	t.Setenv(credentials, "")
	path := filepath.Join(t.TempDir(), FileName)
	text := minimal + "tls_cert = \"$CREDENTIALS_DIRECTORY/cert\"\ntls_key = \"$CREDENTIALS_DIRECTORY/key\"\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, Alone); err != nil {
		t.Error(err)
	}
	_, err := Load(path, All)
	for _, want := range []string{"service 1: tls_cert", "the environment does not set CREDENTIALS_DIRECTORY"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "LoadCredential=cert:FILE") {
		t.Errorf("got no hint that names the credential: %v", err)
	}
}

// TestEtcdCredentials: the files for etcd can be credentials.
func TestEtcdCredentials(t *testing.T) {
	fleet := minimal + "[fleet]\nname = \"a\"\nendpoints = [\"https://etcd:2379\"]\ncertificate = \"c\"\nkey = \"$CREDENTIALS_DIRECTORY/k\"\n"
	t.Setenv(credentials, "/run/credentials/x")
	c, err := Parse("/etc/sallyport/c.toml", []byte(fleet))
	if err != nil {
		t.Fatal(err)
	}
	if c.Fleet.Etcd.Key != "/run/credentials/x/k" || c.Fleet.Etcd.Certificate != "/etc/sallyport/c" {
		t.Errorf("got %q, %q", c.Fleet.Etcd.Key, c.Fleet.Etcd.Certificate)
	}
	if err := c.checkEtcdFiles(); err != nil {
		t.Error(err)
	}
	t.Setenv(credentials, "")
	if c, err = Parse("/etc/sallyport/c.toml", []byte(fleet)); err != nil {
		t.Fatal(err)
	}
	if err := c.checkEtcdFiles(); err == nil || !strings.Contains(err.Error(), "key: the environment does not set") {
		t.Errorf("got %v", err)
	}
}

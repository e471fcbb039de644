package cluster

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	valid := Config{Endpoints: []string{"https://etcd1.example:2379", "http://127.0.0.1:2379", "http://[::1]:2379"}, Prefix: "/a/"}
	if err := valid.Validate(); err != nil {
		t.Error(err)
	}
	endpoint := func(e string) Config { return Config{Endpoints: []string{e}} }
	for want, c := range map[string]Config{
		"at least one":           {},
		"occurs twice":           {Endpoints: []string{"https://a:1", "https://a:1"}},
		"at most 16":             {Endpoints: strings.Split(strings.Repeat("https://a:1,", 17), ",")},
		"not https://host:port":  endpoint("etcd:2379"),
		`"https://a" is not`:     endpoint("https://a"),
		`"https://u:p@a:1" is`:   endpoint("https://u:p@a:1"),
		`"https://a:1/x" is`:     endpoint("https://a:1/x"),
		"only a loopback":        endpoint("http://10.0.0.1:2379"),
		"localhost":              endpoint("http://localhost:2379"),
		"must end with a slash":  {Endpoints: valid.Endpoints, Prefix: "/a"},
		"at most 128 bytes":      {Endpoints: valid.Endpoints, Prefix: strings.Repeat("a", 128) + "/"},
		"both are required":      {Endpoints: valid.Endpoints, Key: "k"},
		"user: required with":    {Endpoints: valid.Endpoints, Password: "p"},
		`"unix:///run/x" is not`: endpoint("unix:///run/x"),
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestFiles: Open reads the files of TLS, and refuses wrong ones.
func TestFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	base := Config{Endpoints: []string{"https://127.0.0.1:1"}, Log: slog.New(slog.DiscardHandler)}
	for want, change := range map[string]func(*Config){
		"no such file":            func(c *Config) { c.CA = empty + "x" },
		"contains no certificate": func(c *Config) { c.CA = empty },
		"load the gateway's":      func(c *Config) { c.Certificate, c.Key = empty, empty },
	} {
		c := base
		change(&c)
		if _, err := Open(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

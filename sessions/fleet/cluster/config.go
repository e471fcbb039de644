package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	// DefaultPrefix is where the keys of a fleet are, unless the configuration names
	// another prefix.
	DefaultPrefix = "/sallyport/"
	// DefaultTimeout is the maximum time of a request.
	DefaultTimeout = 2 * time.Second

	maxEndpoints = 16
	maxPrefix    = 128
)

// Config is what Open needs. Endpoints and Log are required.
type Config struct {
	// Endpoints are URLs of etcd's members: https://host:port, or http:// and a loopback
	// address.
	Endpoints []string
	// CA is the file of the certificates that sign those of the members. "": the
	// system's. It is read again for each connection.
	CA string
	// Certificate and Key are the files of the gateway's certificate, or "". They are
	// read again for each connection.
	Certificate, Key string
	// User and Password: "" without a password, as when the certificate names the user.
	User, Password string
	// Prefix of all keys; ends with a slash. "": DefaultPrefix.
	Prefix string
	// Timeout of a request. 0: DefaultTimeout.
	Timeout time.Duration
	// Position is the last known one. Zero: none, and no gap can be seen before the first
	// answer.
	Position Position
	// Gap is called when an answer shows a gap, before the caller of the request gets the
	// answer. It must not call the Cluster. nil: nothing.
	Gap func(Gap)
	// Now limits the rate of log messages; it is never set. nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Validate reports what is wrong with the fields that come from a configuration file. It
// reads no file.
func (c Config) Validate() error {
	if len(c.Endpoints) == 0 {
		return errors.New("endpoints: at least one is required")
	}
	if len(c.Endpoints) > maxEndpoints {
		return fmt.Errorf("endpoints: at most %d are allowed, there are %d", maxEndpoints, len(c.Endpoints))
	}
	seen := map[string]bool{}
	for _, e := range c.Endpoints {
		if err := validEndpoint(e); err != nil {
			return err
		}
		if seen[e] {
			return fmt.Errorf("endpoints: %q occurs twice", e)
		}
		seen[e] = true
	}
	switch p := c.Prefix; {
	case p == "":
	case !strings.HasSuffix(p, "/"):
		return fmt.Errorf("prefix: %q must end with a slash", p)
	case len(p) > maxPrefix:
		return fmt.Errorf("prefix: at most %d bytes are allowed, it has %d", maxPrefix, len(p))
	}
	if (c.Certificate == "") != (c.Key == "") {
		return errors.New("certificate and key: both are required, or neither")
	}
	if c.Password != "" && c.User == "" {
		return errors.New("user: required with a password")
	}
	return nil
}

// validEndpoint refuses endpoints to which nonces and the password would travel in the
// clear over a network.
func validEndpoint(e string) error {
	u, err := url.Parse(e)
	if err != nil || u.Host == "" || u.Port() == "" || u.User != nil || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("endpoints: %q is not https://host:port", e)
	}
	switch u.Scheme {
	case "https":
		return nil
	case "http":
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsLoopback() {
			return nil
		}
		return fmt.Errorf("endpoints: %q: without TLS, only a loopback address is allowed, as http://127.0.0.1:2379", e)
	}
	return fmt.Errorf("endpoints: %q is not https://host:port", e)
}

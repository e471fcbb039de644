package config

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sallyport/cmd/internal/hint"
	"sallyport/sessions/durable"
)

// fault is a key whose file cannot be used.
type fault struct {
	key, found string // empty: there is none
	hint       string // may be empty
}

// directoryFault returns the fault of a key that names a directory; "": no directory.
func directoryFault(key, path, todo string) fault {
	if path == "" {
		return fault{}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission): // Site reports a lack of rights
		return fault{}
	case errors.Is(err, fs.ErrNotExist):
		return fault{key, fmt.Sprintf("got %q, which does not exist", path), todo}
	case err != nil || !info.IsDir():
		return fault{key, fmt.Sprintf("got %q, which is not a directory", path), todo}
	}
	return fault{}
}

// pairFault returns the fault of a certificate and its key; both "": none. It does not
// report a lack of rights: see unreadable.
func pairFault(cert, key string) fault {
	if cert == "" {
		return fault{}
	}
	var texts [2][]byte
	for i, f := range []struct{ key, path string }{{"tls_cert", cert}, {"tls_key", key}} {
		if name, unset := credentialName(f.path); unset {
			return fault{f.key, "got a credential, but the environment does not set " + credentials, unsetHint(name)}
		}
		text, err := durable.ReadFile(f.path)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return fault{}
		case errors.Is(err, fs.ErrNotExist):
			return fault{f.key, fmt.Sprintf("got %q, which does not exist", f.path), ""}
		case err != nil:
			return fault{f.key, fmt.Sprintf("got %q, which cannot be read: %v", f.path, hint.Cause(err)), ""}
		}
		texts[i] = text
	}
	if !hasCertificate(texts[0]) {
		return fault{"tls_cert", fmt.Sprintf("got %q, which has no certificate", cert), ""}
	}
	if _, err := tls.X509KeyPair(texts[0], texts[1]); err != nil {
		return fault{
			"tls_key", fmt.Sprintf("got %q, which is not the key of the certificate: %s", key, strings.TrimPrefix(err.Error(), "tls: ")),
			"the first certificate of the chain must be that of the key, which must not be encrypted",
		}
	}
	return fault{}
}

// hasCertificate reports whether a PEM file has a certificate.
func hasCertificate(text []byte) bool {
	for block, rest := pem.Decode(bytes.TrimSpace(text)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return true
		}
	}
	return false
}

// missing returns the fault of a file or directory that the listener needs.
func (h *HTTP) missing() fault {
	if f := (web{root: h.root, cert: h.cert, key: h.key}).missing(); f.key != "" {
		return f
	}
	return directoryFault("pages", h.Pages, fmt.Sprintf("install -d -m 700 %q makes it; it must belong to the user of the server", filepath.Clean(h.Pages)))
}

// PagesListed returns an error if other users than the server's can list the directory of
// pages, whose names are secret.
func (h *HTTP) PagesListed() error {
	if h.Pages == "" {
		return nil
	}
	f, err := os.Open(h.Pages)
	if err != nil {
		return nil // Site reports it
	}
	defer f.Close()
	return h.files.Check(h.Pages, f)
}

// unreadable adds what to do to an error of reading a file, if it is one of rights.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return hint.With(err, "let the user of this process read it, or run the command as its owner")
	}
	return err
}

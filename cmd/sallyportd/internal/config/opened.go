package config

import (
	"cmp"
	"path/filepath"
	"slices"

	"sallyport/cmd/sallyportd/internal/sandbox"
	"sallyport/sessions/gate/relay"
)

// opened are the paths of files and directories that a configuration names, as Load reads
// them.
type opened struct {
	ports []string // files of port secrets
	files []string // others
	trees []string // directories with what is served
}

func (r *raw) opened(path string) (o opened) {
	dir := filepath.Dir(path)
	file := func(to *[]string, paths ...string) {
		for _, path := range paths {
			if at := resolveSecret(dir, path); at != "" && unsetFault(at) == nil {
				*to = append(*to, at)
			}
		}
	}
	tree := func(paths ...string) {
		for _, path := range paths {
			if path != "" {
				o.trees = append(o.trees, resolve(dir, path))
			}
		}
	}
	file(&o.ports, r.PortSecretFile, r.PortSecretPreviousFile)
	file(&o.files, r.Challenge.HostKeyFile, r.Fleet.CA, r.Fleet.Certificate, r.Fleet.Key, r.Fleet.PasswordFile, r.Fleet.RelayKeyFile, r.Fleet.ClientsKeyFile)
	for _, s := range r.Service {
		file(&o.files, s.TLSCert, s.TLSKey)
		tree(s.Root)
	}
	for _, h := range r.Challenge.HTTP {
		file(&o.files, h.TLSCert, h.TLSKey)
		tree(h.Root, h.Pages)
	}
	for _, op := range r.Operation {
		file(&o.files, op.SecretFile, op.KeysFile)
	}
	return o
}

// Files returns the files that a server with this configuration opens.
func (c *Config) Files() sandbox.Files {
	f := sandbox.Files{
		Read:  slices.Concat([]string{c.Path, c.ClientsPath}, c.opened.ports, c.opened.files),
		Trees: c.opened.trees, Write: []string{c.StateDir}, Bind: []string{c.AdminSocket}, Connect: []string{c.FirewallSocket},
	}
	for i := range c.Services {
		s := &c.Services[i]
		f.Connect = append(f.Connect, cmp.Or(relay.Upstream(s.Upstream()).Unix(), s.ProgramUpstream().Unix()))
	}
	return f
}

// HolderFiles returns the files that a holder with this configuration opens. It reads the
// schedule of the knock ports, and writes the record of trials.
func (c *Config) HolderFiles() sandbox.Files {
	return sandbox.Files{Read: slices.Concat([]string{c.Path}, c.opened.ports), Write: []string{c.StateDir}, Bind: []string{c.FirewallSocket}}
}

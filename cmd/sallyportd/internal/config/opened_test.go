package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// nameFiles sets each key of a table that is a path to one in which the key is.
func nameFiles(table reflect.Value, at string) (keys []string) {
	for i := range table.NumField() {
		field, of := table.Field(i), table.Type().Field(i)
		name := of.Tag.Get("toml")
		switch key := at + name; {
		case of.Anonymous:
			keys = append(keys, nameFiles(field, at)...)
		case field.Kind() == reflect.Struct && name != "" && of.Type.PkgPath() == table.Type().PkgPath():
			keys = append(keys, nameFiles(field, key+".")...)
		case field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
			keys = append(keys, nameFiles(field.Index(0), key+".")...)
		case shapes[key] == isPath:
			field.SetString("/" + key)
			keys = append(keys, key)
		}
	}
	return keys
}

// TestEachNamedFileStays: the server may open each file that a key names.
func TestEachNamedFileStays(t *testing.T) {
	// These have their own fields, and the directory of a program is for its runner.
	others := []string{"clients", "state_dir", "admin_socket", "firewall_socket", "service.program_dir"}
	r := new(raw)
	keys := nameFiles(reflect.ValueOf(r).Elem(), "")
	for key, shape := range shapes {
		if shape == isPath && !slices.Contains(keys, key) {
			t.Errorf("no table has %s", key)
		}
	}
	o := r.opened("/etc/sallyportd.toml")
	for _, key := range keys {
		directory := slices.Contains(o.trees, "/"+key)
		file := slices.Contains(o.files, "/"+key) || slices.Contains(o.ports, "/"+key)
		switch {
		case slices.Contains(others, key):
		case !directory && !file:
			t.Errorf("the file of %s is not among those that stay", key)
		case directory != (strings.HasSuffix(key, ".root") || strings.HasSuffix(key, ".pages")):
			t.Errorf("%s: a directory: %t", key, directory)
		}
	}
}

// TestFilesOfServerAndHolder: each process has the files that it needs, and the holder has no
// secret but those of the ports.
func TestFilesOfServerAndHolder(t *testing.T) {
	t.Setenv(credentials, "/run/credentials/unit")
	c, err := Parse("/etc/sallyport/sallyportd.toml", []byte(`ports = 3
port_secret_file = "$CREDENTIALS_DIRECTORY/port_secret"
clients = "clients"
state_dir = "/var/lib/sallyport"
admin_socket = "/run/sallyport/admin.sock"
firewall_socket = "/run/sallyport-firewall/firewall.sock"
[[service]]
name = "web"
type = "web"
listen = ":443"
root = "site"
tls_cert = "/etc/letsencrypt/live/x/fullchain.pem"
tls_key = "/etc/letsencrypt/live/x/privkey.pem"
[[service]]
name = "app"
type = "proxy"
listen = ":8080"
upstream = "unix:/run/app/app.sock"
`))
	if err != nil {
		t.Fatal(err)
	}
	port := "/run/credentials/unit/port_secret"
	server, holder := c.Files(), c.HolderFiles()
	for name, of := range map[string]struct{ got, want []string }{
		"read": {server.Read, []string{
			"/etc/sallyport/sallyportd.toml", "/etc/sallyport/clients", port, "/etc/letsencrypt/live/x/fullchain.pem", "/etc/letsencrypt/live/x/privkey.pem",
		}},
		"serve": {server.Trees, []string{"/etc/sallyport/site"}}, "write": {server.Write, []string{"/var/lib/sallyport"}},
		"bind":          {server.Bind, []string{"/run/sallyport/admin.sock"}},
		"connect":       {server.Connect, []string{"/run/sallyport-firewall/firewall.sock", "/run/app/app.sock"}},
		"holder: read":  {holder.Read, []string{"/etc/sallyport/sallyportd.toml", port}},
		"holder: write": {holder.Write, []string{"/var/lib/sallyport"}}, "holder: serve": {holder.Trees, nil},
		"holder: bind": {holder.Bind, []string{"/run/sallyport-firewall/firewall.sock"}}, "holder: connect": {holder.Connect, nil},
	} {
		of.got = slices.DeleteFunc(of.got, func(path string) bool { return path == "" || strings.HasSuffix(path, "/clients_key") })
		if !slices.Equal(of.got, of.want) {
			t.Errorf("%s: %v, want %v", name, of.got, of.want)
		}
	}
}

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// pasted are secrets of several forms, such as an administrator may paste into a wrong place.
var pasted = []string{
	"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	"n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
	"n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is",
	"correct horse battery staple",
	"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v\n-----END PRIVATE KEY-----\n",
	"tr0ub4dor&3",
}

// leaves calls f for each value of a table and of the tables in it, with a function that
// replaces it.
func leaves(table map[string]any, at string, f func(key string, value any, set func(any))) {
	for name, value := range table {
		switch v := value.(type) {
		case map[string]any:
			leaves(v, at+name+".", f)
		case []any:
			if len(v) > 0 {
				if _, tables := v[0].(map[string]any); tables {
					for _, inside := range v {
						leaves(inside.(map[string]any), at+name+".", f)
					}
					continue
				}
				f(at+name, v[0], func(to any) { v[0] = to })
			}
			f(at+name, value, func(to any) { table[name] = to })
		default:
			f(at+name, value, func(to any) { table[name] = to })
		}
	}
}

// TestRedactAnyKey puts a secret in the place of each value of the reference, which has
// every key: the redacted configuration does not have it, and knows that it has left it out.
func TestRedactAnyKey(t *testing.T) {
	dir := t.TempDir()
	table := map[string]any{}
	if err := toml.Unmarshal([]byte(uncommented()), &table); err != nil {
		t.Fatal(err)
	}
	redact := func() Redacted {
		text, err := toml.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Redact(filepath.Join(dir, FileName), text)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	complete(table, reflect.TypeFor[raw]())
	tried := map[string]bool{}
	leaves(table, "", func(key string, value any, set func(any)) {
		for _, secret := range pasted {
			set(secret)
			r := redact()
			if strings.Contains(string(r.Text), strings.TrimSpace(secret)) || !slices.Contains(r.LeftOut, secret) {
				t.Errorf("%s = %q is copied, or not left out:\n%s", key, secret, r.Text)
			}
		}
		set(value)
		tried[key] = true
	})
	var keys []string
	each(reflect.TypeFor[raw](), "", func(key string) { keys = append(keys, key) })
	for _, key := range keys {
		if !tried[key] {
			t.Errorf("no secret was tried in the place of %s", key)
		}
	}
	for key := range shapes {
		if !slices.Contains(keys, key) {
			t.Errorf("shapes has %s, which is no key", key)
		}
	}
	if len(keys) < 120 {
		t.Errorf("%d keys only", len(keys))
	}
}

// each calls f for each key of a table and of the tables in it.
func each(typ reflect.Type, at string, f func(key string)) {
	for _, field := range fieldsOf(typ) {
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		switch {
		case isTable(field.Type):
			each(field.Type, at+name+".", f)
		case field.Type.Kind() == reflect.Slice && isTable(field.Type.Elem()):
			each(field.Type.Elem(), at+name+".", f)
		default:
			f(at + name)
		}
	}
}

// complete adds the keys that a table and the tables in it lack.
func complete(table map[string]any, typ reflect.Type) {
	for _, field := range fieldsOf(typ) {
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		value, has := table[name]
		switch {
		case isTable(field.Type):
			if !has {
				value = map[string]any{}
			}
			complete(value.(map[string]any), field.Type)
			table[name] = value
		case field.Type.Kind() == reflect.Slice && isTable(field.Type.Elem()):
			if !has {
				value = []any{map[string]any{}}
			}
			complete(value.([]any)[0].(map[string]any), field.Type.Elem())
			table[name] = value
		case !has:
			table[name] = "x"
		}
	}
}

// TestRedact: values that explain a fault are copied, and those that may be secrets are not.
func TestRedact(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "port_secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Redact(filepath.Join(dir, FileName), []byte(`# a comment with hunter2
ports = 3
server = "gate.example.org"
port_secret_file = "port_secret"
port_secret = "hunter2"
clients = "hunter3"
queue = 31415926535
log_level = "hunter4"
hunter55 = 1
listen = ["::", "192.0.2.1", "gate.example.org"]
port_secret_previous_until = 2026-12-01T00:00:00Z
[[service]]
name = "ssh"
type = "firewall"
listen = [":22", ":60000-61000"]
open_for = "30s"
on_close = "cut"
allow = ["10.8.0.0/24", "docker0"]
[[service]]
name = "run"
type = "command"
on_open = ["/bin/true", "hunter6"]
program_env = ["TOKEN=hunter7"]
extra = { inside = "hunter8" }
[challenge]
ports = "16384-30719"
[challenge.request]
scheme = "ranges"
data_bits = 8
[[operation]]
id = "ssh-alice"
secret = "hunter9"
client = "com1"
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ports = 3", `server = "(set, left out)"`, `port_secret_file = "port_secret"`, `port_secret = "(set, left out)"`, `clients = "(no such file, or not to be seen by this user; left out)"`,
		`queue = "(does not fit the key, left out)"`, `log_level = "(does not fit the key, left out)"`, "# unknown keys, left out: 1", `listen = ["::", "192.0.2.1", "(left out)"]`,
		"port_secret_previous_until = 2026-12-01T00:00:00Z", "[[service]]", `name = "ssh"`, `listen = [":22", ":60000-61000"]`, `open_for = "30s"`, `on_close = "cut"`,
		`allow = ["10.8.0.0/24", "(left out)"]`, `on_open = ["(set, left out)", "(set, left out)"]`, `program_env = ["(set, left out)"]`, "[challenge]", `ports = "16384-30719"`,
		"[challenge.request]", `scheme = "ranges"`, "data_bits = 8", "[[operation]]", `id = "ssh-alice"`, `secret = "(set, left out)"`, `client = "com1"`,
	} {
		if !strings.Contains("\n"+string(r.Text), "\n"+line+"\n") {
			t.Errorf("lacks %s", line)
		}
	}
	if strings.Contains(string(r.Text), "hunter") || strings.Contains(string(r.Text), "comment") {
		t.Errorf("got\n%s", r.Text)
	}
	for _, text := range []string{"hunter2", "hunter3", "hunter4", "hunter55", "hunter6", "TOKEN=hunter7", "hunter8", "hunter9", "31415926535", "gate.example.org"} {
		if !slices.Contains(r.LeftOut, text) {
			t.Errorf("does not know that %s is left out: %q", text, r.LeftOut)
		}
	}
	if !slices.Equal(r.Operations, []string{"ssh-alice"}) || !slices.Equal(r.Clients, []string{"com1"}) || !slices.Equal(r.Files, []string{filepath.Join(dir, "port_secret")}) {
		t.Errorf("%q %q %q", r.Operations, r.Clients, r.Files)
	}
	_, err = Redact("c.toml", []byte("port_secret = \"hunter2\nx"))
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("no TOML: %v", err)
	}
}

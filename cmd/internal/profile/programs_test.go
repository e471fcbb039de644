package profile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"sallyport/cmd/internal/keyprogram"
)

// stored stores the profile good in a config directory of the test, and returns its path.
func stored(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv("HOME", dir)
	path, err := Add("work", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrograms: what is written is read again, and signs.
func TestPrograms(t *testing.T) {
	path := stored(t, strings.Replace(good, "secret = \"hunter2\"\n", "", 1))
	abs, err := filepath.Abs("program")
	if err != nil {
		t.Fatal(err)
	}
	want := Programs{Version: 1, MACCommand: []string{abs, "it's", "a \"word\"", "\n", ""}, Timeout: "2m0s"}
	if err := writePrograms(path, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readPrograms(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	p, err := Load("work")
	mac, ok := p.Signer.(*keyprogram.MAC)
	if err != nil || !ok || !reflect.DeepEqual(mac.Program.Argv, want.MACCommand) || mac.Program.Timeout.Minutes() != 2 || len(p.Secret) != 0 {
		t.Errorf("%+v, %v", p.Signer, err)
	}
	End(p)
	if p, err := Load(path); err == nil {
		t.Errorf("by its path: %+v", p)
	}
	if _, err := Remove("work"); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestForeignPrograms: another user's file starts nothing, whatever its mode is.
func TestForeignPrograms(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have other rights there")
	}
	path := stored(t, good)
	if err := writePrograms(path, Programs{MACCommand: []string{"/bin/true"}}); err != nil {
		t.Fatal(err)
	}
	local := programsPath(path)
	for _, mode := range []os.FileMode{0o604, 0o640, 0o602, 0o620, 0o610} {
		if err := os.Chmod(local, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readPrograms(path); err == nil || !strings.Contains(err.Error(), "expected mode 0600") {
			t.Errorf("%o: %v", mode, err)
		}
	}
	err := errors.Join(os.Chmod(local, 0o600), os.Chown(local, 65533, -1))
	if errors.Is(err, os.ErrPermission) {
		t.Skip("only root can give a file to another user")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readPrograms(path); err == nil || !strings.Contains(err.Error(), "got one of another user") {
		t.Error(err)
	}
}

func FuzzPrograms(f *testing.F) {
	for _, text := range []string{
		"version = 1\nsecret_command = [\"/bin/cat\", \"x\"]\n", "version = 1\nmac_command = [\"/x\"]\ntimeout = \"1m\"\n",
		"version = 1\n[challenge]\nsecret_command = [\"/x\"]\n", "version = 1\n", "version = 2\n", "mac_command = []\nsecret_command = [\"x\"]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePrograms("p.local", text)
		if err != nil {
			return
		}
		if len(p.SecretCommand) > 0 && len(p.MACCommand) > 0 {
			t.Errorf("two programs: %+v", p)
		}
		for _, argv := range [][]string{p.SecretCommand, p.MACCommand} {
			if len(argv) > 0 && !filepath.IsAbs(argv[0]) {
				t.Errorf("a program without a path: %q", argv)
			}
		}
		if d := p.timeout(); d != 0 && (d < minTimeout || d > maxTimeout) {
			t.Errorf("a timeout of %s", d)
		}
		out, err := toml.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parsePrograms("p.local", out); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%s: %+v, %v; expected %+v", out, again, err, p)
		}
	})
}

// FuzzWithoutSecret: the lines that stay are those of the text, and have no secret.
func FuzzWithoutSecret(f *testing.F) {
	operation := "server = \"s\"\n[challenge]\nsecret = \"hunter2\"\n[challenge.request]\nscheme = \"ranges\"\n"
	for _, text := range []string{
		good, operation, good + operation, "# secret = \"x\"\n" + good, "\"secret\"='''x'''\nports = 1", "secret = \"\"\"\nx\"\"\"", "[a]\nsecret = 1",
		"challenge = { secret = \"x\" }", "challenge.secret = \"x\"", "secret = \"x\" # and ports = 1",
	} {
		f.Add([]byte(text), "")
		f.Add([]byte(text), "challenge")
	}
	f.Fuzz(func(t *testing.T, text []byte, table string) {
		content, err := decode(text)
		if err != nil || table != "" && table != "challenge" || secretOf(content, table) == "" {
			return
		}
		left, err := withoutSecret(text, table)
		if err != nil {
			return
		}
		after, err := decode(left)
		if err != nil || secretOf(after, table) != "" || !same(after, content, table) {
			t.Fatalf("%q: left %q: %+v, %v", text, left, after, err)
		}
		removed := 0
		lines := bytes.Split(left, []byte("\n"))
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			if len(lines) > 0 && bytes.Equal(line, lines[0]) {
				lines = lines[1:]
			} else if removed++; removed > 1 {
				t.Fatalf("%q: left %q", text, left)
			}
		}
	})
}

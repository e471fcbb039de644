package profile

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

// TestDirectories: each row is an environment, and the directory for new nonces and
// profiles.
func TestDirectories(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the directories of Linux")
	}
	me, err := user.Current()
	if err != nil {
		t.Skip("this user is not in the password database")
	}
	for _, row := range []struct{ home, xdg, unit, state, config string }{
		{"/h", "", "", "/h/.local/state/sallyport", "/h/.config/sallyport"},
		{"/h", "/x", "/u", "/x/sallyport", "/x/sallyport"},
		{"/h", "x", "", "/h/.local/state/sallyport", "/h/.config/sallyport"},
		{"/h", "", "u:/u:/v", "/u/sallyport", "/u/sallyport"},
		{"", "", "/u:/v", "/u/sallyport", "/u/sallyport"},
		{"", "", "", me.HomeDir + "/.local/state/sallyport", me.HomeDir + "/.config/sallyport"},
		{"h", "", "", me.HomeDir + "/.local/state/sallyport", me.HomeDir + "/.config/sallyport"},
	} {
		t.Setenv("HOME", row.home)
		for _, name := range []string{"XDG_STATE_HOME", "XDG_CONFIG_HOME"} {
			t.Setenv(name, row.xdg)
		}
		for _, name := range []string{"STATE_DIRECTORY", "CONFIGURATION_DIRECTORY"} {
			t.Setenv(name, row.unit)
		}
		states, err1 := stateDirs()
		configs, err2 := configDirs()
		if err := errors.Join(err1, err2); err != nil || states[0] != row.state || configs[0] != row.config {
			t.Errorf("%+v: %v, %v, %v", row, states, configs, err)
		}
	}
}

// TestNoncesStay: a record of nonces that exists is used, also if a unit has a
// directory: two records of one client would use its nonces twice.
func TestNoncesStay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the directories of Linux")
	}
	home, unit := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("STATE_DIRECTORY", unit)
	p := client.Profile{Server: "s", Identifier: wire.Identifier([]byte("com1"))}
	if f, err := Nonces(t.Context(), p); err != nil || !strings.HasPrefix(f.Path, unit) {
		t.Errorf("no record: %s, %v", f.Path, err)
	}
	old := filepath.Join(home, ".local/state/sallyport/com1%40s.nonce")
	err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o700), os.WriteFile(old, nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Nonces(t.Context(), p)
	if err != nil || filepath.Dir(f.Path) != filepath.Dir(old) || f.Earlier != old {
		t.Errorf("an earlier record: %+v, %v", f, err)
	}
	if err := os.Rename(old, f.Path); err != nil {
		t.Fatal(err)
	}
	if now, err := Nonces(t.Context(), p); err != nil || now.Path != f.Path {
		t.Errorf("a record: %s, %v", now.Path, err)
	}
}

package clients

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/secretfile"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	_, err := Load(path, secretfile.Rules{}, nil)
	if err == nil || !strings.Contains(err.Error(), "clients.txt: no such file") {
		t.Errorf("a missing file: %v", err)
	}
	if err = os.WriteFile(path, []byte("com1 hunter2 0 services=web\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := Load(path, secretfile.Rules{}, []string{"web", "ssh"})
	if err != nil || len(list) != 1 || len(list[0].Allowed()) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
	_, err = Load(path, secretfile.Rules{}, []string{"ssh"})
	if err == nil || !strings.Contains(err.Error(), `clients.txt:1: service "web" is not configured; expected ssh`) {
		t.Errorf("a service that is not configured: %v", err)
	}
	if _, err := Load(path, secretfile.Rules{}, nil); err != nil {
		t.Errorf("without known services: %v", err)
	}
	err = errors.Join(os.Chmod(path, 0o644), os.Chmod(filepath.Dir(filepath.Dir(path)), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Load(path, secretfile.Rules{}, nil)
	if err == nil || !strings.Contains(err.Error(), "others may read") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a file that others may read: %v", err)
	}
}

func TestRights(t *testing.T) {
	lines, err := Parse("clients.txt", strings.NewReader("com1 s 0 services=web,ssh\ncom2 s 0 expires=2026-12-01T00:00:00Z\ncom3 s 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	rights := Of(lines).Rights([]string{"com1", "com2", "com9"}, end)
	services, known, expired := rights("com1")
	if !known || strings.Join(services, " ") != "web ssh" || !expired.IsZero() {
		t.Errorf("com1: %v, %v, %v", services, known, expired)
	}
	if services, known, expired := rights("com2"); !known || services != nil || expired != end {
		t.Errorf("com2: %v, %v, %v", services, known, expired)
	}
	if _, known, _ := rights("com9"); known {
		t.Error("com9 is known")
	}
	if _, _, expired := Of(lines).Rights([]string{"com2"}, end.Add(-time.Nanosecond))("com2"); !expired.IsZero() {
		t.Errorf("com2 has expired before its time: %v", expired)
	}
}

// TestEditKeepsMode: the group of the server's user can still read a file that root
// has edited.
func TestEditKeepsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.txt")
	err := errors.Join(os.WriteFile(path, []byte("\ufeffcom1 hunter2 0\r\n"), 0o600), os.Chmod(path, 0o440))
	if err != nil {
		t.Fatal(err)
	}
	err = Edit(t.Context(), path, func(lines []Line) ([]Line, error) {
		lines[0].Client.HighestNonce = 7
		return lines, nil
	})
	text, readErr := os.ReadFile(path)
	info, statErr := os.Stat(path)
	err = errors.Join(err, readErr, statErr)
	if err != nil || string(text) != "com1 hunter2 7\n" || info.Mode() != 0o440 {
		t.Errorf("%q, %v, %v", text, info, err)
	}
}

package socketpath

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x.sock")
	dial := func() error {
		return Use(path, func(short string) error {
			c, err := net.Dial("unix", short)
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	if err := dial(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("no socket: %v", err)
	}
	short, err := Keep(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	if err := dial(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	l.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

func TestTooLongName(t *testing.T) {
	var long *TooLongError
	path := filepath.Join(t.TempDir(), strings.Repeat("n", 120))
	if _, err := Keep(path); !errors.As(err, &long) || long.Hint() == "" {
		t.Errorf("%v", err)
	}
	err := Use(filepath.Join(t.TempDir(), strings.Repeat("n", 200), "x"), func(string) error { return nil })
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

package passphrase

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"golang.org/x/sys/unix"
)

// quick is a work factor for tests.
const quick = 4

func TestLock(t *testing.T) {
	t.Parallel()
	content := []byte("secret = \"hunter2\"\n")
	locked, err := Encrypt(content, "open sesame", quick)
	if err != nil || !IsLocked(locked) || IsLocked(content) || bytes.Contains(locked, []byte("hunter2")) {
		t.Fatalf("%v\n%s", err, locked)
	}
	if got, err := Decrypt(locked, "open sesame"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Decrypt(locked, "open sesame "); err != ErrWrong || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, empty := range []string{""} {
		if _, err := Encrypt(content, empty, quick); err == nil {
			t.Error("encrypted for an empty passphrase")
		}
		if _, err := Decrypt(locked, empty); err == nil {
			t.Error("decrypted by an empty passphrase")
		}
	}
	again, err := Encrypt(content, "open sesame", quick)
	if err != nil || bytes.Equal(again, locked) {
		t.Errorf("the same bytes: %v", err)
	}
}

// TestDamaged: no part of a locked file opens, and no damaged one does.
func TestDamaged(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("hunter2 "), 20)
	locked, err := Encrypt(content, "p", quick)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(locked) - len("\n") {
		if got, err := Decrypt(locked[:n], "p"); err == nil || got != nil {
			t.Fatalf("%d of %d bytes: %q, %v", n, len(locked), got, err)
		}
	}
	for i := range locked {
		damaged := bytes.Clone(locked)
		damaged[i] ^= 1
		if got, err := Decrypt(damaged, "p"); err == nil && !bytes.Equal(got, content) {
			t.Fatalf("byte %d: %q", i, got)
		} else if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Fatal(err)
		}
	}
}

// TestForeign: a file that costs too much, or that is for a key.
func TestForeign(t *testing.T) {
	t.Parallel()
	locked, err := Encrypt([]byte("x"), "p", quick)
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	plain.ReadFrom(armor.NewReader(bytes.NewReader(locked)))
	costly := strings.Replace(plain.String(), " 4\n", " 30\n", 1)
	var text bytes.Buffer
	w := armor.NewWriter(&text)
	w.Write([]byte(costly))
	w.Close()
	if _, err := Decrypt(text.Bytes(), "p"); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("a work factor of 30: %v", err)
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	w = armor.NewWriter(&text)
	e, err := age.Encrypt(w, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
	w.Close()
	_, err = Decrypt(text.Bytes(), "p")
	if err == nil || !strings.Contains(err.Error(), "for a passphrase, got one for X25519") {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"p": "p", "p\n": "p", "p\r\n": "p", "two words\nrest": "two words", " p ": " p ", strings.Repeat("p", maxPassphrase): strings.Repeat("p", maxPassphrase),
		"": "", "\n": "", "\r\n": "", "\xff\n": "", strings.Repeat("p", maxPassphrase+1): "",
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.WriteString(text)
		w.Close()
		d, err := Open(dup(t, r))
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Read()
		d.f.Close()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %.20q, %v", text, got, err)
		}
		if _, rest, found := strings.Cut(text, "\n"); found && want != "" {
			left := make([]byte, 100)
			n, _ := r.Read(left)
			if string(left[:n]) != rest {
				t.Errorf("%q: left is %q", text, left[:n])
			}
		}
		r.Close()
	}
	for _, fd := range []int{-1, 1, 2, 1 << 20} {
		d, err := Open(fd)
		if err == nil {
			_, err = d.Read()
		}
		if err == nil {
			t.Errorf("descriptor %d: a passphrase", fd)
		}
	}
}

// TestReadSeveral: a descriptor has the passphrases of a profile and of a key, a line each,
// and is no longer open in programs that the process starts.
func TestReadSeveral(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("of the profile\nof the key\n")
	w.Close()
	fd := dup(t, r)
	d, err := Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer d.f.Close()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v", flags, err)
	}
	for _, want := range []string{"of the profile", "of the key", ""} {
		if got, err := d.Read(); got != want || (err == nil) != (want != "") {
			t.Errorf("%q, %v; expected %q", got, err, want)
		}
	}
}

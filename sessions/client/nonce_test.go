package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestNoncesNeverRepeat(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "deep", "nonce")}
	var mu sync.Mutex
	seen := map[uint32]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				base, _, err := f.Reserve(t.Context(), "com1", 3, noon)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for n := base; n < base+3; n++ {
					if seen[n] {
						t.Errorf("nonce %d twice", n)
					}
					seen[n] = true
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, path := range []string{f.Path, f.Path + ".lock"} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o", path, info.Mode().Perm())
		}
	}
	if _, err := os.Stat(f.Path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

func TestNonceIsOnDiskBeforeUse(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	for want := uint32(0); want < 9; want += 3 {
		base, moved, err := f.Reserve(t.Context(), "com1", 3, noon)
		if err != nil || base != want || moved {
			t.Fatalf("got %d, %v, want %d", base, err, want)
		}
		text, err := os.ReadFile(f.Path)
		if err != nil || string(text) != recordAfter(uint64(want), 3) {
			t.Fatalf("the file has %q, %v", text, err)
		}
		if err := f.Opened(t.Context(), base, 3, true); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEarlierFile: the file of an earlier release is used for the secret that the
// client has then.
func TestEarlierFile(t *testing.T) {
	dir := t.TempDir()
	f := NonceFile{Path: filepath.Join(dir, "new"), Earlier: filepath.Join(dir, "old"), First: 77}
	if err := os.WriteFile(f.Earlier, []byte("sallyport-nonce 1\nnext 4294967296\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var exhausted *ExhaustedError
	if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); !errors.As(err, &exhausted) {
		t.Errorf("got %v", err)
	}
	f.Path = filepath.Join(dir, "rotated")
	if base, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil || base != 77 {
		t.Errorf("after a rotation: %d, %v", base, err)
	}
}

func TestExhaustedNonces(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	write := func(next uint64) string {
		text := newRecord(next).String()
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return text
	}
	// Too few nonces are left to skip any.
	write(1<<32 - 3)
	if base, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil || base != 1<<32-3 {
		t.Errorf("the last three: %d, %v", base, err)
	}
	for _, next := range []uint64{1<<32 - 2, 1 << 32} {
		text := write(next)
		var exhausted *ExhaustedError
		if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); !errors.As(err, &exhausted) || exhausted.Hint() == "" {
			t.Errorf("at %d: %v", next, err)
		}
		if got, _ := os.ReadFile(f.Path); string(got) != text {
			t.Errorf("at %d: the file changed to %q", next, got)
		}
	}
}

func TestDamagedNonceFileStays(t *testing.T) {
	f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
	for _, text := range []string{
		"", "5\n", "next 5\n", "sallyport-nonce 1\n", "sallyport-nonce 1\nnext 5", "sallyport-nonce 1\nnext 05\n", "sallyport-nonce 1\nnext -1\n",
		"sallyport-nonce 1\nnext 4294967297\n", "sallyport-nonce 1\nnext 5\nnext 6\n", "sallyport-nonce 2\nnext 5\n", "sallyport-nonce 3\nnext 5\n", "sallyport-nonce 4\nnext 5\n", "sallyport-nonce 2\nnext 5\nunopened 3\n",
	} {
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var damaged *DamagedError
		_, _, err := f.Reserve(t.Context(), "com1", 3, noon)
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%q: %v", text, err)
		}
		if got, _ := os.ReadFile(f.Path); string(got) != text {
			t.Errorf("%q changed to %q", text, got)
		}
	}
}

func TestNoNonceWithoutItsRecord(t *testing.T) {
	dir := t.TempDir()
	f := NonceFile{Path: filepath.Join(dir, "nonce")}
	if _, _, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil {
		t.Fatal(err)
	}
	// A directory has the name of the temporary file.
	if err := os.MkdirAll(filepath.Join(f.Path+".new", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if base, _, err := f.Reserve(t.Context(), "com1", 3, noon); err == nil {
		t.Errorf("reserved %d without a record", base)
	}
	if text, _ := os.ReadFile(f.Path); string(text) != recordAfter(0, 3) {
		t.Errorf("the file has %q", text)
	}
}

func FuzzParseNonce(f *testing.F) {
	for _, n := range []uint64{0, 5, 1 << 32} {
		f.Add(newRecord(n).String())
	}
	long := nonceHeader + "opened 5\nnext 9\nother 7\nconfirmed false\nunopened 3\n"
	f.Add(long + "used 0 7\nused 8 9\nused 4294967295 4294967296\n")
	f.Add(long + "used 0 7\nused 7 9\n")
	f.Add(long + "used 9 7\n")
	f.Add("sallyport-nonce 1\nnext 5\n")
	f.Add("sallyport-nonce 1\nnext 00\n")
	f.Add("sallyport-nonce 2\nnext 5\nunopened 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseNonce(text)
		if err != nil {
			return
		}
		again, err := parseNonce(r.String())
		if err != nil || again.String() != r.String() || !r.valid() {
			t.Fatalf("%q became %+v, and then %+v, %v", text, r, again, err)
		}
		if base, ok := r.take(r.next, 3); ok && uint64(base) < r.next {
			t.Fatalf("%q: nonce %d is used", text, base)
		}
	})
}

// recordAfter returns the file after an attempt with n nonces from base.
func recordAfter(base uint64, n int) string {
	r := newRecord(base + uint64(n))
	r.opened, r.unopened = base, 1
	return r.String()
}

// TestEarlierVersions: the next nonce of a file of an earlier release is used, also if
// it goes by the clock; and the clock does not move it.
func TestEarlierVersions(t *testing.T) {
	for text, want := range map[string]uint32{
		"sallyport-nonce 1\nnext 77\n": 77, "sallyport-nonce 2\nnext 78\nunopened 0\n": 78,
		"sallyport-nonce 2\nnext 2370000000\nunopened 0\n": 2370000000, "sallyport-nonce 2\nnext 2390000000\nunopened 2\n": 2390000000,
	} {
		f := NonceFile{Path: filepath.Join(t.TempDir(), "nonce")}
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if base, moved, err := f.Reserve(t.Context(), "com1", 3, noon); err != nil || base != want || moved {
			t.Errorf("%q: %d, moved %v, %v", text, base, moved, err)
		}
	}
}

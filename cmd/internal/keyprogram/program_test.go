package keyprogram

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench/race"
	"sallyport/sessions/client"
)

const secret = "hunter2"

// TestMain is also the program of the tests: its first argument is what it does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		play(os.Args[1], os.Args[2:])
	}
	race.Children()
	os.Exit(m.Run())
}

func play(role string, args []string) {
	switch role {
	case "print":
		fmt.Print(args[0])
	case "fail":
		fmt.Print(secret)
		fmt.Fprintln(os.Stderr, "no \x1b[2Jkey")
		os.Exit(7)
	case "hang":
		io.Copy(io.Discard, os.Stdin)
		time.Sleep(time.Hour)
	case "mac":
		mac(os.Stdout, args)
	case "count":
		f, _ := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		f.WriteString("x")
		mac(os.Stdout, args[1:])
	}
	os.Exit(0)
}

// mac answers messages: all, or as many as the first argument; after that it prints
// the second one.
func mac(w io.Writer, args []string) {
	most := 1 << 30
	if len(args) > 0 {
		most, _ = strconv.Atoi(args[0])
	}
	in := bufio.NewScanner(os.Stdin)
	for i := 0; i < most && in.Scan(); i++ {
		message, err := hex.DecodeString(in.Text())
		if err != nil {
			os.Exit(3)
		}
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(message)
		fmt.Fprintf(w, "%x\n", h.Sum(nil))
	}
	if len(args) > 1 {
		fmt.Fprintln(w, args[1])
		io.Copy(io.Discard, os.Stdin)
	}
}

func program(t *testing.T, argv ...string) Program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Program{Key: "mac_command", Argv: append([]string{self}, argv...)}
}

func messages(n int) (all [][]byte) {
	for i := range n {
		all = append(all, bytes.Repeat([]byte{byte(i)}, i%40))
	}
	return all
}

func checkMACs(t *testing.T, s client.Signer, n int) {
	t.Helper()
	got, err := s.Sign(t.Context(), messages(n)...)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := client.SecretSigner(secret).Sign(t.Context(), messages(n)...)
	if len(got) != n {
		t.Fatalf("%d HMACs of %d messages", len(got), n)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("message %d: %x, expected %x", i, got[i], want[i])
		}
	}
}

// TestOneProcess: one process serves several goroutines, and more than a pipe holds.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	m := &MAC{Program: program(t, "count", count)}
	defer m.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { checkMACs(t, m, 129) })
	}
	wg.Go(func() { checkMACs(t, m, 5000) })
	wg.Wait()
	if b, _ := os.ReadFile(count); string(b) != "x" {
		t.Errorf("%d processes", len(b))
	}
}

// TestStartedAgain: a program that has ended is started again, also after Close.
func TestStartedAgain(t *testing.T) {
	t.Parallel()
	count := filepath.Join(t.TempDir(), "count")
	m := &MAC{Program: program(t, "count", count, "2")}
	defer m.Close()
	for range 3 {
		checkMACs(t, m, 2)
	}
	m.Close()
	checkMACs(t, m, 1)
	if b, _ := os.ReadFile(count); string(b) != "xxxx" {
		t.Errorf("%d processes", len(b))
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"mac", "stubborn"} {
		m := &MAC{Program: program(t, "mac")}
		if role == "stubborn" {
			m.Program = program(t, "mac", "1", strings.Repeat("ab", 32)) // an answer without a reader
		}
		checkMACs(t, m, 1)
		proc := m.proc
		m.Close()
		select {
		case <-proc.waited:
		default:
			t.Errorf("%s runs on", role)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	zeros := strings.Repeat("0", 64)
	for name, row := range map[string]struct {
		program Program
		want    string
	}{
		"exit code":   {program(t, "fail"), "expected a line with an HMAC-SHA256, 64 hexadecimal digits, got a line of 7 characters"},
		"no answer":   {program(t, "print", ""), "it has ended"},
		"too few":     {program(t, "mac", "2"), "it has ended"},
		"short":       {program(t, "mac", "2", zeros[:63]), "got a line of 63 characters"},
		"long":        {program(t, "mac", "2", zeros+"0"), "got a line of 65 characters"},
		"very long":   {program(t, "mac", "2", strings.Repeat("0", 70000)), "got a line of 256 characters"},
		"no digits":   {program(t, "mac", "2", strings.Repeat("x", 64)), "got a line of 64 characters"},
		"no program":  {Program{Key: "mac_command", Argv: []string{"/none/such"}}, `mac_command (such): there is no program "/none/such"`},
		"a directory": {Program{Key: "mac_command", Argv: []string{os.TempDir()}}, "start it: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &MAC{Program: row.program}
			defer m.Close()
			_, err := m.Sign(t.Context(), messages(3)...)
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "xx") {
				t.Errorf("%v; expected %q", err, row.want)
			}
			if m.proc != nil {
				t.Error("the program is kept")
			}
		})
	}
}

// TestUnasked: an answer without a question would be taken for that to the next one.
func TestUnasked(t *testing.T) {
	t.Parallel()
	p := program(t, "mac", "1", strings.Repeat("0", 64))
	p.Timeout = time.Second
	m := &MAC{Program: p}
	defer m.Close()
	checkMACs(t, m, 1)
	for {
		_, err := m.Sign(t.Context(), messages(1)...)
		if err == nil {
			continue // it has come in time to be an answer; the next one does not
		}
		if !strings.Contains(err.Error(), "mac_command") {
			t.Error(err)
		}
		return
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	var hinted interface{ Hint() string }
	p := program(t, "hang")
	p.Timeout = time.Millisecond
	for _, s := range []client.Signer{&MAC{Program: p}, &Secret{Program: p}} {
		_, err := s.Sign(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), "within 1ms, got none") || !errors.As(err, &hinted) {
			t.Errorf("%T: %v", s, err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, s := range []client.Signer{&MAC{Program: program(t, "hang")}, &Secret{Program: program(t, "hang")}} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := s.Sign(ctx, nil)
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%T: %v", s, err)
		}
	}
}

// TestStandardError: it is shown without what controls a terminal; standard output is not
// shown, which has the secret.
func TestStandardError(t *testing.T) {
	t.Parallel()
	var shown bytes.Buffer
	p := program(t, "fail")
	p.Key, p.Stderr = "secret_command", &shown
	s := &Secret{Program: p}
	_, err := s.Get(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "it has ended with exit code 7") || strings.Contains(err.Error(), "no ") {
		t.Error(err)
	}
	if got := shown.String(); got != "secret_command: no \\x1b[2Jkey\n" {
		t.Errorf("shown: %q", got)
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		secret: "", secret + "\r\n\n": "", "\ufeff" + secret: "",
		"":                        "expected a secret",
		"\n":                      "expected a secret",
		secret + "\nuser: me\n":   "got several lines",
		secret + " \n":            "a space at its end",
		"\xff":                    "expected UTF-8 text",
		strings.Repeat("x", 5000): "at most 4096 bytes, got more",
		"refused":                 "refused it",
	} {
		s := &Secret{Program: program(t, "print", text), Check: func(s string) error {
			if s == "refused" {
				return errors.New("refused it")
			}
			return nil
		}}
		got, err := s.Get(t.Context())
		switch {
		case want == "" && (err != nil || got != secret):
			t.Errorf("%q: %q, %v", text, got, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret)):
			t.Errorf("%.20q: %v; expected %q", text, err, want)
		}
	}
	checkMACs(t, &Secret{Program: program(t, "print", secret+"\n")}, 3)
}

func FuzzParseMAC(f *testing.F) {
	for _, line := range []string{"", strings.Repeat("0f", 32), strings.Repeat("F0", 32), strings.Repeat("0", 63), strings.Repeat("g", 64)} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		mac, ok := parseMAC(line)
		want := strings.ToLower(string(line))
		valid := len(line) == 64 && strings.Trim(want, "0123456789abcdef") == ""
		if ok != valid || ok && hex.EncodeToString(mac[:]) != want {
			t.Errorf("%q: %x, %v", line, mac, ok)
		}
	})
}

func TestTail(t *testing.T) {
	var kept tail
	for i := range 2000 {
		fmt.Fprintf(&kept, "line %d\n", i)
	}
	if s := kept.String(); len(s) != maxTail || !strings.HasSuffix(s, "line 1999\n") {
		t.Errorf("%d bytes: %q", len(s), s[max(0, len(s)-20):])
	}
}

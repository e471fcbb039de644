package main

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/cmd/internal/clitest"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"sallyport": quickMain, "hmac-program": hmacProgram})
}

// quickMain is main with a small cost for a guess of a passphrase.
func quickMain() {
	workFactor = 4
	main()
}

type tests struct{ m *testing.M }

func (t tests) Run() int { return runTests(t.m) }

func TestScripts(t *testing.T) { clitest.Run(t, "testdata/script/*.txtar", nil) }

func TestInitCost(t *testing.T) { clitest.InitCost(t, "sallyport") }

func TestParseTime(t *testing.T) {
	for s, want := range map[string]int64{
		"@0": 0, "@4294967295": 1<<32 - 1, "1970-01-01T00:00:00Z": 0, "2026-01-02T15:04:05Z": 1767366245, "2026-01-02T16:04:05+01:00": 1767366245,
	} {
		if got, err := parseTime(s); err != nil || got.Unix() != want {
			t.Errorf("%s: %d, %v", s, got.Unix(), err)
		}
	}
	for _, s := range []string{"", "@", "@-1", "@4294967296", "@1.5", "now", "2026-01-02", "1969-12-31T23:59:59Z", "2107-01-01T00:00:00Z"} {
		if got, err := parseTime(s); err == nil {
			t.Errorf("%s accepted as %v", s, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"@0", "2026-01-02T15:04:05Z", "@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseTime(s); err == nil && (got.Unix() < 0 || got.After(time.Unix(1<<32, 0))) {
			t.Fatalf("%q is %v", s, got)
		}
	})
}

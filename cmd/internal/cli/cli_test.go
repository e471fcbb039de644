package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
)

// stuck is a variable in the environment of a child process, which runs a command
// that does not end with its context.
const stuck = "SALLYPORT_TEST_STUCK"

func TestMain(m *testing.M) {
	if os.Getenv(stuck) != "" {
		os.Args = os.Args[:1]
		Main(func(Env) *cobra.Command {
			return &cobra.Command{Use: "stuck", RunE: func(c *cobra.Command, _ []string) error {
				fmt.Println("running")
				<-c.Context().Done()
				fmt.Println("asked to stop")
				if os.Getenv(stuck) == "heeds" {
					return nil
				}
				select {}
			}}
		})
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name   string
		ctx    context.Context
		args   []string
		err    error
		code   int
		stderr []string
	}{
		{"done", t.Context(), []string{"do"}, nil, Done, nil},
		{"failed", t.Context(), []string{"do"}, errors.New("broken"), Failed, []string{"tool: broken"}},
		{"hints", t.Context(), []string{"do"}, fmt.Errorf("wrapped: %w", WithHint(errors.New("broken"), "one\ntwo")), Failed, []string{"tool: wrapped: broken", "hint: one", "hint: two"}},
		{"misused", t.Context(), []string{"do"}, Misuse(WithHint(errors.New("bad file"), "fix it")), Misused, []string{"tool: bad file", "hint: fix it"}},
		{"interrupted", cancelled, []string{"do"}, fmt.Errorf("wait: %w", context.Canceled), Interrupted, []string{"tool: interrupted"}},
		{"unknown flag", t.Context(), []string{"do", "--x"}, nil, Misused, []string{"tool: unknown flag: --x", "hint: tool do --help"}},
		{"too many arguments", t.Context(), []string{"do", "x"}, nil, Misused, []string{"hint: tool do --help"}},
		{"unknown command", t.Context(), []string{"undo"}, nil, Misused, []string{`tool: unknown command "undo"`, "hint: tool --help"}},
		{"no command", t.Context(), nil, nil, Done, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, stderr strings.Builder
			root := Group(&cobra.Command{Use: "tool", Short: "A tool"})
			root.AddCommand(&cobra.Command{Use: "do", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return row.err }})
			code := Run(row.ctx, Env{Args: row.args, Stdout: &out, Stderr: &stderr}, root)
			want := strings.Join(row.stderr, "\n")
			got := strings.TrimSpace(stderr.String())
			printed := got == want || want != "" && strings.HasSuffix(got, want)
			if code != row.code || !printed {
				t.Errorf("code %d, stderr:\n%s\nwant %d:\n%s", code, got, row.code, want)
			}
		})
	}
}

func TestSignals(t *testing.T) {
	for mode, want := range map[string]int{"heeds": Done, "ignores": Interrupted} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(fmt.Sprintf("%s/%s", mode, signal), func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), stuck+"="+mode, "GORACE=atexit_sleep_ms=0")
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				line := func() string {
					var text []byte
					for b := make([]byte, 1); ; {
						if n, err := out.Read(b); n == 0 || err != nil || b[0] == '\n' {
							return string(text)
						}
						text = append(text, b[0])
					}
				}
				if got := line(); got != "running" {
					t.Fatalf("it printed %q", got)
				}
				cmd.Process.Signal(signal)
				if got := line(); got != "asked to stop" {
					t.Fatalf("after a signal it printed %q", got)
				}
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					cmd.Wait()
				}()
				for again := mode == "ignores"; again; {
					select {
					case <-ended:
						again = false
					case <-time.After(repeatTime / 10):
						cmd.Process.Signal(signal)
					}
				}
				<-ended
				if got := cmd.ProcessState.ExitCode(); got != want {
					t.Errorf("exit code %d, want %d", got, want)
				}
			})
		}
	}
}

// TestErrorWithStalledReader: a command ends, although the reader of its error
// stalls.
func TestErrorWithStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled, goOn := io.Pipe()
		defer stalled.Close()
		root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error { return errors.New("broken") }}
		start := time.Now()
		code := Run(t.Context(), Env{Stderr: goOn}, root)
		if took := time.Since(start); code != Failed || took > errorTime {
			t.Errorf("code %d after %s", code, took)
		}
	})
}

// TestUsageErrors: an error about the arguments names the expected and the found
// arguments, and the one that was probably meant. It has no words of the libraries.
func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"status -c x":                        "unknown command \"status\" | tool --help",
		"status --config=x":                  "unknown command \"status\" | tool --help",
		"chekc":                              "unknown command \"chekc\" | did you mean: tool check | tool --help",
		"revoke k7":                          "unknown command \"revoke\" | did you mean: tool client revoke | tool --help",
		"client remove":                      "unknown command \"remove\" | did you mean: tool client revoke | tool client --help",
		"client remove -c x":                 "unknown command \"remove\" | did you mean: tool client revoke | tool client --help",
		"client revok k7":                    "unknown command \"revok\" | did you mean: tool client revoke | tool client --help",
		"client hiden":                       "unknown command \"hiden\" | tool client --help",
		"client -c x":                        "unknown flag: -c | tool client --help",
		"check gate.toml":                    "unexpected argument \"gate.toml\" | a configuration file is named with -c FILE | tool check --help",
		"plain x":                            "unexpected argument \"x\" | tool plain --help",
		"client revoke":                      "missing argument IDENTIFIER | usage: tool client revoke IDENTIFIER [flags] | tool client revoke --help",
		"client revoke a b":                  "unexpected argument \"b\" | usage: tool client revoke IDENTIFIER [flags] | tool client revoke --help",
		"client allow":                       "missing argument IDENTIFIER | usage: tool client allow IDENTIFIER [SERVICE…] [flags] | tool client allow --help",
		"client copy a":                      "missing argument TO | usage: tool client copy FROM TO [NAME TEXT] [flags] | tool client copy --help",
		"client copy a b c":                  "expected two names | usage: tool client copy FROM TO [NAME TEXT] [flags] | tool client copy --help",
		"check --cofnig x":                   "unknown flag: --cofnig | did you mean: --config | tool check --help",
		"check --wait 3":                     "--wait: expected a duration with a unit (ms, s, m, h, d, w), such as 3s, got \"3\" | tool check --help",
		"check --wait soon":                  "--wait: expected a duration such as 3s, 1h30m or 7d, with the units ms, s, m, h, d, w, got \"soon\" | tool check --help",
		"check --count x":                    "--count: expected a whole number, got \"x\" | tool check --help",
		"check --count 99999999999999999999": "--count: expected a whole number, got \"99999999999999999999\" | tool check --help",
		"check --port 70000":                 "--port: expected a whole number from 0 to 65535, got \"70000\" | tool check --help",
		"check --quick=perhaps":              "--quick: expected true or false, got \"perhaps\" | tool check --help",
		"check -c":                           "--config: expected a value, got none | tool check --help",
		"check --config=":                    "--config: expected a value, got an empty text | for the default, omit the flag | tool check --help",
		"check --services=":                  "--services: expected a value, got an empty text | for the default, omit the flag | tool check --help",
		"check --note= x":                    "unexpected argument \"x\" | a configuration file is named with -c FILE | tool check --help",
	} {
		t.Run(args, func(t *testing.T) {
			do := func(*cobra.Command, []string) error { return nil }
			root := Group(&cobra.Command{Use: "tool", Short: "A tool"})
			check := &cobra.Command{Use: "check", Args: cobra.NoArgs, RunE: do}
			check.Flags().StringP("config", "c", "", "")
			check.Flags().Duration("wait", 0, "")
			check.Flags().Int("count", 0, "")
			check.Flags().Uint16("port", 0, "")
			check.Flags().Bool("quick", false, "")
			check.Flags().StringSlice("services", nil, "")
			check.Flags().String("note", "", "")
			AcceptEmpty(check, "note")
			client := Group(&cobra.Command{Use: "client", Short: "Clients"})
			client.AddCommand(
				&cobra.Command{Use: "revoke IDENTIFIER", Args: cobra.ExactArgs(1), RunE: do, SuggestFor: []string{"remove"}},
				&cobra.Command{Use: "allow IDENTIFIER [SERVICE…]", Args: cobra.MinimumNArgs(1), RunE: do},
				&cobra.Command{Use: "copy FROM TO [NAME TEXT]", RunE: do, Args: func(_ *cobra.Command, args []string) error {
					if len(args) != 2 {
						return errors.New("expected two names")
					}
					return nil
				}},
				&cobra.Command{Use: "hidden", Hidden: true, RunE: do},
			)
			root.AddCommand(check, client, &cobra.Command{Use: "plain", Args: cobra.NoArgs, RunE: do})
			var stderr strings.Builder
			code := Run(t.Context(), Env{Args: strings.Fields(args), Stderr: &stderr}, root)
			got := strings.TrimPrefix(strings.TrimSpace(stderr.String()), "tool: ")
			if got = strings.ReplaceAll(got, "\nhint: ", " | "); code != Misused || got != want {
				t.Errorf("code %d\ngot  %s\nwant %s", code, got, want)
			}
		})
	}
}

// TestJSONErrors: where --json was asked for, the error is the last line on
// standard output, and standard error is empty.
func TestJSONErrors(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	broken := WithHint(errors.New("broken \x1b[2J"), "one\ntwo")
	for _, row := range []struct {
		ctx    context.Context
		args   string
		err    error
		stdout string
	}{
		{t.Context(), "do --json", broken, `{"error":"broken \u001b[2J","hint":"one\ntwo","exit_code":1}`},
		{t.Context(), "do --json=true", Misuse(errors.New("bad file")), `{"error":"bad file","hint":"","exit_code":2}`},
		{cancelled, "do --json", fmt.Errorf("wait: %w", context.Canceled), `{"error":"interrupted","hint":"","exit_code":130}`},
		{t.Context(), "do --json --x", nil, `{"error":"unknown flag: --x","hint":"tool do --help","exit_code":2}`},
		{t.Context(), "do --x --json", nil, `{"error":"unknown flag: --x","hint":"tool do --help","exit_code":2}`},
		{t.Context(), "do --json=x", nil, `"exit_code":2}`},
		{t.Context(), "do --json extra", nil, `"hint":"tool do --help","exit_code":2}`},
		{t.Context(), "undo --json", nil, `"exit_code":2}`},
		{t.Context(), "plain --json", nil, `{"error":"unknown flag: --json","hint":"tool plain --help","exit_code":2}`},
		{t.Context(), "do --json=false", broken, ""},
		{t.Context(), "do --json --json=false", broken, ""},
		{t.Context(), "do --x -- --json", nil, ""},
		{t.Context(), "do --note --json", broken, ""},
		{t.Context(), "do extra --note --json", nil, ""},
		{t.Context(), "do --note x --json extra", nil, `"exit_code":2}`},
	} {
		t.Run(row.args, func(t *testing.T) {
			var out, stderr strings.Builder
			root := Group(&cobra.Command{Use: "tool", Short: "A tool"})
			do := &cobra.Command{Use: "do", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return row.err }}
			var asJSON bool
			AddJSONFlag(do, &asJSON)
			do.Flags().String("note", "", "")
			root.AddCommand(do, &cobra.Command{Use: "plain", RunE: func(*cobra.Command, []string) error { return row.err }})
			Run(row.ctx, Env{Args: strings.Fields(row.args), Stdout: &out, Stderr: &stderr}, root)
			if row.stdout == "" {
				if out.String() != "" || stderr.String() == "" {
					t.Errorf("stdout %q, stderr %q", out.String(), stderr.String())
				}
				return
			}
			got := out.String()
			oneLine := strings.HasSuffix(got, row.stdout+"\n") && strings.Count(got, "\n") == 1
			if !oneLine || stderr.String() != "" {
				t.Errorf("stdout %q, stderr %q", got, stderr.String())
			}
		})
	}
}

// TestErrorWithFullDisk: an error that cannot be printed as JSON is printed for
// people.
func TestErrorWithFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error { return errors.New("broken") }}
	var asJSON bool
	AddJSONFlag(root, &asJSON)
	var stderr strings.Builder
	code := Run(t.Context(), Env{Args: []string{"--json"}, Stdout: full, Stderr: &stderr}, root)
	if code != Failed || stderr.String() != "tool: broken\n" {
		t.Errorf("code %d, stderr %q", code, stderr.String())
	}
}

// TestColouredError: on a terminal the name of the program is red, and text that
// the error repeats from elsewhere is escaped.
func TestColouredError(t *testing.T) {
	root := &cobra.Command{Use: "tool", RunE: func(*cobra.Command, []string) error { return WithHint(errors.New("a\x1b[2J"), "b") }}
	var stderr strings.Builder
	Run(t.Context(), Env{Stderr: &stderr, StderrTerminal: true, Getenv: func(string) string { return "" }}, root)
	if want := "\x1b[31mtool:\x1b[0m a\\x1b[2J\n\x1b[36mhint:\x1b[0m b\n"; stderr.String() != want {
		t.Errorf("got %q, want %q", stderr.String(), want)
	}
}

// TestSignalsThatComeTogether: a signal that is sent twice at once, as timeout(1)
// does, ends a command in order. Only a later one ends the program at once.
func TestSignalsThatComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal, 2)
		defer close(signals)
		var stopped, exited int
		go handleSignals(signals, func() { stopped++ }, func() { exited++ })
		expect := func(wantStopped, wantExited int) {
			t.Helper()
			synctest.Wait()
			if stopped != wantStopped || exited != wantExited {
				t.Errorf("stopped %d, exited %d times; expected %d and %d", stopped, exited, wantStopped, wantExited)
			}
		}
		expect(0, 0)
		signals <- syscall.SIGTERM
		signals <- syscall.SIGTERM
		expect(1, 0)
		time.Sleep(repeatTime)
		signals <- syscall.SIGTERM
		expect(1, 0)
		time.Sleep(time.Millisecond)
		signals <- syscall.SIGTERM
		expect(1, 1)
	})
}

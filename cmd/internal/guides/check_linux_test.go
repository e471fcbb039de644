package guides

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// measurements holds figures, and the commands that produced them. They run for
// minutes or hours, so the test checks them and does not run them.
const measurements = "bench/RESULTS.md"

// TestMeasurements checks each command of the measurements, and the tests that
// they name.
func TestMeasurements(t *testing.T) {
	prepare(t)
	g := load(t, measurements)
	if g.commands() == 0 {
		t.Errorf("%s has no commands", measurements)
	}
	for _, b := range g.blocks {
		if b.mark != (mark{}) {
			t.Errorf("%s:%d: nothing runs these commands: no mark is allowed", measurements, b.line)
		}
		for _, c := range b.commands {
			if len(c.output) > 0 {
				t.Errorf("%s:%d: only commands are allowed, got %q", measurements, c.line, c.output)
			}
			if err := checkCommand(c.text); err != nil {
				t.Errorf("%s:%d: %s: %v", measurements, c.line, c.text, err)
			}
		}
	}
}

// TestInline checks what guides have between single backticks: commands, and
// phrases of the log or of an error.
func TestInline(t *testing.T) {
	prepare(t)
	code := sources(t)
	commands := map[string]bool{}
	for _, program := range []string{"sallyport", "sallyportd", "floodbench"} {
		visitCommands(t, program, nil, func(path []string, _ string, _ bool) {
			commands[strings.Join(path, " ")] = true
			commands[program+" "+strings.Join(path, " ")] = true
		})
	}
	paths := append(append(others(t), alone...), measurements)
	phrases := 0
	for _, path := range paths {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, quoted := range inline.FindAllString(fenced.ReplaceAllString(string(text), ""), -1) {
			quoted = strings.Trim(quoted, "`")
			switch program, _, more := strings.Cut(quoted, " "); {
			case strings.HasPrefix(quoted, "go test "), program == "floodbench" && more:
				if err := checkCommand(quoted); err != nil {
					t.Errorf("%s: `%s`: %v", path, quoted, err)
				}
			case phrase.MatchString(quoted) && !commands[quoted] && !otherPrograms.MatchString(quoted):
				phrases++
				if !strings.Contains(code, quoted) {
					t.Errorf("%s: `%s` is no command, and no text of the code", path, quoted)
				}
			}
		}
	}
	if phrases == 0 {
		t.Error("the guides quote no phrase")
	}
}

var (
	phrase        = regexp.MustCompile(`^[a-z][a-z'-]*(?:[;,]? [a-z][a-z'-]*)+$`)
	otherPrograms = regexp.MustCompile(`^(?:docker|etcdctl|go|kubectl|nft|ssh|systemctl) |^(?:flush ruleset )?inet(?: sallyport)?$`)
)

// TestNothingIsLeftOut holds that a Markdown file with commands is one of the
// guides, or the measurements.
func TestNothingIsLeftOut(t *testing.T) {
	known := append(append(others(t), alone...), measurements)
	walk(t, func(path string) {
		if filepath.Ext(path) != ".md" || slices.Contains(known, path) {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile("(?m)^```(?:console|sh|bash)|^\\$ .*").FindString(string(text)); found != "" {
			t.Errorf("%s has commands (%q), and no test reads them", path, found)
		}
	})
}

// TestJSON holds the sentences "every command except … has --json" of the two
// programs' guides.
func TestJSON(t *testing.T) {
	prepare(t)
	for _, program := range []string{"sallyport", "sallyportd"} {
		path := "cmd/" + program + "/README.md"
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile("(?i)every command except (.*?) has `--json`").FindStringSubmatch(string(text))
		if m == nil {
			t.Fatalf("%s has no sentence \"every command except … has `--json`\"", path)
		}
		exceptions := map[string]int{}
		for _, e := range inline.FindAllString(m[1], -1) {
			exceptions[strings.Trim(e, "`")] = 0
		}
		visitCommands(t, program, nil, func(words []string, help string, group bool) {
			if group {
				return
			}
			excepted := false
			for i := range words {
				e := strings.Join(words[:i+1], " ")
				if _, found := exceptions[e]; found {
					excepted = true
					exceptions[e]++
				}
			}
			if has := strings.Contains(help, " --json "); has == excepted {
				t.Errorf("%s excepts %q: %t; it has --json: %t", path, words, excepted, has)
			}
		})
		for e, n := range exceptions {
			if n == 0 {
				t.Errorf("%s excepts %q, which is no command", path, e)
			}
		}
	}
}

// prepare builds the programs, for a test that needs no hosts.
func prepare(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the programs")
	}
	dependOnAll(t)
	if err := buildOnce(); err != nil {
		t.Fatalf("build the programs: %v", err)
	}
}

// sources is the Go code without tests.
func sources(t *testing.T) string {
	t.Helper()
	var code strings.Builder
	walk(t, func(path string) {
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	})
	return code.String()
}

// visitCommands visits the commands of a program, as its help lists them.
func visitCommands(t *testing.T, program string, words []string, visit func(words []string, help string, group bool)) {
	t.Helper()
	out, err := builtProgram(program, append(slices.Clone(words), "--help")...)
	if err != nil {
		t.Fatal(err)
	}
	_, list, group := strings.Cut(out, "\nAvailable Commands:\n")
	if len(words) > 0 {
		visit(words, out, group)
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		if name := strings.Fields(line)[0]; name != "help" {
			visitCommands(t, program, append(slices.Clone(words), name), visit)
		}
	}
}

// builtProgram runs one of the built programs.
func builtProgram(name string, args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(os.Getenv(programs), name), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

var (
	shellWord  = regexp.MustCompile(`'[^']*'|"[^"]*"|[^\s'"]+`)
	assignment = regexp.MustCompile(`^[A-Z_]+=\S*$`)
)

// checkCommand checks a command that takes too long for this test, or that the
// gate runs. It must be one of these: go test, floodbench, a script of .ci.
func checkCommand(text string) error {
	words := shellWord.FindAllString(text, -1)
	for i, w := range words {
		words[i] = strings.Trim(w, `'"`)
	}
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	switch {
	case len(words) >= 2 && words[0] == "go" && words[1] == "test":
		return checkGoTest(words[2:])
	case len(words) >= 3 && words[0] == "go" && words[1] == "build":
		_, err := os.Stat(filepath.Join(root, words[len(words)-1], "main.go"))
		return err
	case len(words) >= 3 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/floodbench":
		return checkFloodbench(words[3:])
	case len(words) >= 1 && (words[0] == "bin/floodbench" || words[0] == "floodbench"):
		return checkFloodbench(words[1:])
	case len(words) == 1 && strings.HasPrefix(words[0], ".ci/"):
		info, err := os.Stat(filepath.Join(root, words[0]))
		if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
			err = fmt.Errorf("%s is not executable", words[0])
		}
		return err
	}
	return errors.New("the test can check only go test, go build, floodbench, and a script of .ci")
}

// checkFloodbench has floodbench parse a command without running it: the flag
// --help comes last, after all others were parsed.
func checkFloodbench(args []string) error {
	if len(args) == 0 {
		return errors.New("got no command of floodbench")
	}
	out, err := builtProgram("floodbench", append(slices.Clone(args), "--help")...)
	if err != nil {
		return err
	}
	usage := regexp.MustCompile(`(?m)^  floodbench ` + regexp.QuoteMeta(args[0]) + `\b(.*)$`).FindStringSubmatch(out)
	if usage == nil {
		return fmt.Errorf("floodbench has no command %q", args[0])
	}
	// Help does not count the arguments. Without flags, they are all words.
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") }) {
		want := strings.Fields(strings.ReplaceAll(usage[1], "[flags]", ""))
		if len(args)-1 != len(want) {
			return fmt.Errorf("got %d arguments, want %q", len(args)-1, want)
		}
	}
	return nil
}

// checkGoTest checks the flags of go test, and that each package has a test for
// each pattern of -run, -bench and -fuzz. The pattern ^$ matches none on purpose.
func checkGoTest(args []string) error {
	flags := flag.NewFlagSet("go test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	patterns := map[string]*string{
		`^(?:Test|Example|Fuzz)`: flags.String("run", "", ""),
		`^Benchmark`:             flags.String("bench", "", ""),
		`^Fuzz`:                  flags.String("fuzz", "", ""),
	}
	times := []*string{flags.String("benchtime", "1s", ""), flags.String("fuzztime", "1s", "")}
	flags.Int("count", 1, "")
	flags.Int("cpu", 1, "")
	flags.Duration("timeout", 0, "")
	for _, name := range []string{"v", "short", "race"} {
		flags.Bool(name, false, "")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, given := range times {
		if regexp.MustCompile(`^\d+x$`).MatchString(*given) {
			continue
		}
		if _, err := time.ParseDuration(*given); err != nil {
			return err
		}
	}
	if flags.NArg() == 0 {
		return errors.New("got no package")
	}
	for _, pkg := range flags.Args() {
		if pkg == "./..." {
			continue // more than one package: not each has to match
		}
		names, err := testNames(pkg)
		if err != nil {
			return err
		}
		for kind, pattern := range patterns {
			if *pattern == "" || *pattern == "^$" {
				continue
			}
			chosen, err := regexp.Compile(*pattern)
			if err != nil {
				return err
			}
			ofKind := regexp.MustCompile(kind)
			matches := func(name string) bool { return ofKind.MatchString(name) && chosen.MatchString(name) }
			if !slices.ContainsFunc(names, matches) {
				return fmt.Errorf("%s has no test %s that matches %q", pkg, kind, *pattern)
			}
		}
	}
	return nil
}

var listed sync.Map // what testNames returned, by package

// testNames are the names of a package's tests, benchmarks, fuzz targets and examples. It
// reads them from the source: to compile all tests once more takes minutes.
func testNames(pkg string) ([]string, error) {
	if names, found := listed.Load(pkg); found {
		return names.([]string), nil
	}
	cmd := exec.Command("go", "list", "-f", `{{range .TestGoFiles}}{{$.Dir}}/{{.}} {{end}}{{range .XTestGoFiles}}{{$.Dir}}/{{.}} {{end}}`, pkg)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the test files of %s: %w", pkg, err)
	}
	var names []string
	for _, path := range strings.Fields(string(out)) {
		file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && testName.MatchString(f.Name.Name) {
				names = append(names, f.Name.Name)
			}
		}
	}
	listed.Store(pkg, names)
	return names, nil
}

var testName = regexp.MustCompile(`^(?:Test|Benchmark|Fuzz|Example)(?:$|[^a-z])`)

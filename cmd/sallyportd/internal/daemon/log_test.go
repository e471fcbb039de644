package daemon

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/cmd/sallyportd/internal/selftest"
	"sallyport/ingest"
	"sallyport/ingest/capture"
	ingestweb "sallyport/ingest/web"
	"sallyport/ingest/xdp"
	"sallyport/sessions"
	"sallyport/sessions/fleet"
	"sallyport/sessions/fleet/grants"
	"sallyport/sessions/fleet/relay"
	"sallyport/sessions/fleet/roster"
	"sallyport/sessions/fleet/split"
	"sallyport/sessions/gate/prove"
	"sallyport/sessions/handshakes"
	carriedtable "sallyport/sessions/handshakes/carried"
)

// guide documents the log: its section "Log" has a table of the attribute keys,
// and one of the counters.
const guide = "cmd/sallyportd/README.md"

// logExceptions are calls that the rules cannot check, by file and text, each
// with its reason.
var logExceptions = map[string]string{
	"bench/faultfs/faultfs_linux.go: package \"log\"":                "the file system of a test, which runs in a process of its own",
	"bench/netns/relay_linux.go: t.Error":                            "the method of a test",
	"cmd/sallyportd/internal/daemon/counters.go: s.env.Log.Info ...": "the counters of traffic: TestCountersAreDocumented checks them",
	"cmd/sallyportd/internal/daemon/counters.go: slog.Uint64":        "the names of counters: TestCountersAreDocumented checks them",
	"cmd/sallyportd/internal/admin/metrics.go: slog.NewLogLogger":    "messages of net/http",
	"cmd/sallyportd/internal/admin/server.go: slog.NewLogLogger":     "messages of net/http",
	"cmd/sallyportd/diag_parts.go: c.Log":                            "a request at the admin socket",
	"cmd/sallyportd/confighint.go: slog.StringValue":                 "the value of a key that the record has",
	"ingest/setup.go: l.Log":                                         "a wrapper: the messages of its callers are checked, as calls of once",
	"ingest/setup.go: l.Log ...":                                     "a wrapper: the attributes of its callers are checked, as calls of once",
	"ingest/xdp/attach_linux.go: l.link.Info":                        "the method of a link of bpf",
	"ingest/xdp/files_linux.go: program.Info":                        "the method of a program of bpf",
	"ingest/xdp/probe_linux.go: m.Info":                              "the method of an array of bpf",
	"ingest/xdp/probe_linux.go: p.Info":                              "the method of a program of bpf",
	"ingest/xdp/program_linux.go: p.native.Info":                     "the method of a program of bpf",
	"sessions/gate/holder/holdertest/holdertest_linux.go: t.Error":   "the method of a test",
	"sessions/fleet/etcdtest/cluster_linux.go: package \"log\"":      "the log of connections that a test cuts, which is discarded",
	"sessions/fleet/etcdtest/cluster_linux.go: t.Log":                "the method of a test",
	"ingest/web/serve.go: slog.NewLogLogger":                         "messages of net/http, which are discarded",
	"ingest/web/site.go: slog.NewLogLogger":                          "messages of net/http, which are discarded",
	"sessions/gate/web.go: slog.NewLogLogger":                        "messages of net/http, which are discarded",
}

// logMachinery are the files that pass on the lines of others.
var logMachinery = map[string]bool{"cmd/sallyportd/internal/loglimit/handler.go": true, "cmd/sallyportd/internal/logsink/sink.go": true, "cmd/sallyportd/internal/logsink/journal_linux.go": true}

func TestLog(t *testing.T) {
	root := moduleRoot(t)
	keys := documented(t, root, "The facts are attributes")
	c := checkTree(t, root)
	for _, f := range c.finish(keys) {
		t.Error(f)
	}
	if len(c.messages) < 50 {
		t.Errorf("only %d messages found", len(c.messages))
	}
}

// TestEndReasonsAreDocumented: the guide has each reason for the end of a lease.
func TestEndReasonsAreDocumented(t *testing.T) {
	root := moduleRoot(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	row := regexp.MustCompile("(?m)^\\| `closed` \\|.*$").FindString(read(guide))
	constant := regexp.MustCompile(`(?m)^\t\w+ +(?:EndReason )?= "([^"]+)"$`)
	reasons := constant.FindAllStringSubmatch(read("sessions/gate/reason.go"), -1)
	if len(reasons) < 9 {
		t.Errorf("only %d reasons found", len(reasons))
	}
	for _, r := range reasons {
		if !strings.Contains(row, "`"+r[1]+"`") {
			t.Errorf("the row of closed in %s lacks %q", guide, r[1])
		}
	}
}

// TestLogRules: each rule finds what breaks it.
func TestLogRules(t *testing.T) {
	const head = "package p\n\nimport (\n\"context\"\n\"log/slog\"\n\"net/http\"\n)\n\nfunc f(log *slog.Logger, ctx context.Context, w http.ResponseWriter, err error, s string, n uint64) {\n"
	for _, row := range []struct{ name, body, want string }{
		{"sound", `log.Info("opened", "service", s, slog.Uint64("count", n))`, ""},
		{"an error's text", `_ = err.Error()`, ""},
		{"a function of another package", `http.Error(w, s, 500)`, ""},
		{"a variable named like a package", `http := log; http.Error(s)`, "message is not a string literal"},
		{"no literal", `log.Warn(s)`, "message is not a string literal"},
		{"a sum", `log.Warn("opened " + s)`, "message is not a string literal"},
		{"a constant", "const m = \"opened\"; log.Warn(m)", "message is not a string literal"},
		{"nothing", `log.Warn()`, "message is not a string literal"},
		{"too long", `log.Warn("` + strings.Repeat("long ", 12) + `long")`, "64 characters"},
		{"upper case", `log.Error("Opened")`, "lower case"},
		{"an acronym", `log.Error("not TCP")`, ""},
		{"a verb of formatting", `log.Error("opened %s")`, "formatting"},
		{"an end of a sentence", `log.Error("opened.")`, "lower case"},
		{"with a context", `log.InfoContext(ctx, s)`, "message is not a string literal"},
		{"with a level", `log.Log(ctx, slog.LevelInfo, s)`, "message is not a string literal"},
		{"with a level and attributes", `log.LogAttrs(ctx, slog.LevelInfo, "opened", slog.String("nope", s))`, `key "nope" is not documented`},
		{"once", `var l interface{ once(slog.Level, string, ...any) }; l.once(slog.LevelInfo, s)`, "message is not a string literal"},
		{"a key", `log.Info("opened", "nope", s)`, `key "nope" is not documented`},
		{"a second key", `log.Info("opened", "service", s, "nope", s)`, `key "nope" is not documented`},
		{"a key after an attribute", `log.Info("opened", slog.Uint64("count", n), "nope", s)`, `key "nope" is not documented`},
		{"a variable key", `log.Info("opened", s, s)`, "key is not a string literal"},
		{"no value", `log.Info("opened", "service")`, "no value"},
		{"an attribute", `_ = slog.String("nope", s)`, `key "nope" is not documented`},
		{"an attribute's variable key", `_ = slog.Any(s, s)`, "key is not a string literal"},
		{"an attribute made by hand", `_ = slog.Attr{Key: "service"}`, "slog.Attr"},
		{"a group", `_ = slog.Group("nope")`, `key "nope" is not documented`},
		{"with", `log.With("nope", s).Info("opened")`, `key "nope" is not documented`},
		{"a list", `attrs := []any{"nope", s}; log.Info("opened", attrs...)`, `key "nope" is not documented`},
		{"a list that grows", `attrs := []any{"service", s}; attrs = append(attrs, "nope", s); log.Info("opened", attrs...)`, `key "nope" is not documented`},
		{"a list among others", `level, attrs := slog.LevelInfo, []any{"nope", s}; log.Log(ctx, level, "opened", attrs...)`, `key "nope" is not documented`},
		{"a declared list", `var attrs = []any{"nope", s}; log.Info("opened", attrs...)`, `key "nope" is not documented`},
		{"a list from elsewhere", `log.Info("opened", list()...)`, "attributes from elsewhere"},
		{"a list that another one joins", `attrs := []any{"service", s}; attrs = append(attrs, list()...); log.Info("opened", attrs...)`, "attributes from elsewhere"},
		{"a list that begins elsewhere", `attrs := list(); attrs = append(attrs, "service", s); log.Info("opened", attrs...)`, "attributes from elsewhere"},
		{"a parameter", `func(attrs ...any) { log.Info("opened", attrs...) }(s, s)`, "attributes from elsewhere"},
		{"a list in a struct", `var x struct{ attrs []any }; log.Info("opened", x.attrs...)`, "attributes from elsewhere"},
		{"a method as a value", `f := log.Info; f(s)`, "method value"},
		{"a method that is called like a field", `f := log.Error; f(s)`, "method value"},
		{"a field", `var x struct{ Error, Log string }; g(x.Error, x.Log)`, ""},
		{"a record", `_ = slog.NewRecord(now, slog.LevelInfo, s, 0)`, "message is not a string literal"},
		{"the default logger", `slog.Info("opened")`, "slog.Info"},
		{"the default logger, to pass on", `g(slog.Default())`, "slog.Default"},
		{"another kind of logger", `_ = slog.NewLogLogger(log.Handler(), 0)`, "slog.NewLogLogger"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newLogCheck(nil)
			if err := c.file("p.go", []byte(head+row.body+"\n}\n")); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(c.finish(map[string]bool{"service": true, "count": true}), "\n")
			got = strings.Join(slices.DeleteFunc(strings.Split(got, "\n"), func(s string) bool { return strings.Contains(s, "no line has it") }), "\n")
			if row.want == "" && got != "" || !strings.Contains(got, row.want) {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
	t.Run("the log package", func(t *testing.T) {
		c := newLogCheck(nil)
		if err := c.file("p.go", []byte("package p\n\nimport \"log\"\n\nfunc f() { log.Print(1) }\n")); err != nil {
			t.Fatal(err)
		}
		if got := c.finish(nil); len(got) != 1 || !strings.Contains(got[0], `package "log"`) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("leftovers", func(t *testing.T) {
		c := newLogCheck(map[string]string{"p.go: log.Info": "there is none"})
		got := strings.Join(c.finish(map[string]bool{"service": true}), "\n")
		if !strings.Contains(got, "exception") || !strings.Contains(got, "no line has it") {
			t.Errorf("got %q", got)
		}
	})
}

// TestCountersAreDocumented: each counter is in the guide's table, and each row
// of the table is a counter.
func TestCountersAreDocumented(t *testing.T) {
	known := documented(t, moduleRoot(t), "### Counters")
	for _, c := range allCounters() {
		if !known[c.name] {
			t.Errorf("%s does not document the counter %q", guide, c.name)
		}
		delete(known, c.name)
	}
	for name := range known {
		t.Errorf("%s documents the counter %q, which does not exist", guide, name)
	}
}

// allCounters returns all counters that a server can have.
func allCounters() counters {
	all := receiverCounters(ingest.Stats{Tiers: []ingest.TierCounts{{Name: "socket_filter", Counted: true}}})
	all = append(all, shieldCounters(xdp.Counts{})...)
	all = append(all, sessionCounters([sessions.NumOutcomes]uint64{})...)
	all = append(all, connectionCounters([prove.NumOutcomes]uint64{})...)
	all = append(all, processCounters(0, 0, 0, 0)...)
	all = append(all, fleetCounters(fleet.Stats{})...)
	all = append(all, listCounters(roster.Stats{})...)
	all = append(all, counter{name: listVersion})
	all = append(all, testCounters([selftest.NumResults]uint64{})...)
	all = append(all, grantCounters([grants.NumOutcomes]uint64{})...)
	all = append(all, captureCounters(capture.Stats{})...)
	all = append(all, new(proofs).counters()...)
	all = append(all, exchangeCounters([handshakes.NumOutcomes]uint64{})...)
	all = append(all, relayCounters(relay.Stats{})...)
	all = append(all, splitCounters([split.NumOutcomes]uint64{})...)
	all = append(all, carriedCounters([carriedtable.NumOutcomes]uint64{})...)
	all = append(all, siteCounters(nil)...)
	return append(all, dnsCounters(ingestweb.DNSStats{})...)
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(".")
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	t.Fatal("no go.mod above this directory")
	return ""
}

var row = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\|")

// documented returns the names in the first column of the table that follows a
// text in the section "Log" of the guide.
func documented(t *testing.T, root, after string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(guide)))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, section, found := strings.Cut(section, after)
	if !found {
		t.Fatalf("%s: no %q in the section Log", guide, after)
	}
	names := map[string]bool{}
	for _, line := range strings.Split(section, "\n") {
		m := row.FindStringSubmatch(line)
		switch {
		case m != nil && names[m[1]]:
			t.Errorf("%s: %q is there twice", guide, m[1])
		case m != nil:
			names[m[1]] = true
		case len(names) > 0:
			return names
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s: no table after %q", guide, after)
	}
	return names
}

// logCheck checks the calls of log/slog in files that it only parses: it knows
// no types. So it regards each method that has the name of a logger's method as
// one. It reports each call that it cannot check, unless the call is an exception.
type logCheck struct {
	fset       *token.FileSet
	exceptions map[string]string
	used       map[string]bool // exceptions
	messages   map[string]bool
	keys       map[string]token.Position // where the key was seen first
	faults     []string
	events     map[string]*eventCalls // the lines of the server, by message
	with       map[string]bool        // keys of With, in the server

	// Of the file that is checked.
	name    string
	imports map[string]string // path by name
	body    ast.Node          // the function that is checked
	event   *eventCalls       // of the call that is checked; nil: it has none
	isWith  bool              // the call is one of With
}

func newLogCheck(exceptions map[string]string) *logCheck {
	return &logCheck{
		fset: token.NewFileSet(), exceptions: exceptions, used: map[string]bool{},
		messages: map[string]bool{}, keys: map[string]token.Position{}, events: map[string]*eventCalls{}, with: map[string]bool{},
	}
}

// messageAt is the place of the message among the arguments of a method; -1: it
// has none, only attributes.
var messageAt = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
	"Log": 2, "LogAttrs": 2, "With": -1,
	"once": 1, // ingest's wrapper
}

// ambiguous are those that are the names of fields as well. Loggers are called
// log, Log or logger here.
var (
	ambiguous = map[string]bool{"Log": true, "Error": true, "once": true}
	isLogger  = regexp.MustCompile(`(?i)log(ger)?$`)
)

// attributes are the functions of log/slog that make an attribute.
var attributes = []string{"Any", "Bool", "Duration", "Float64", "Group", "GroupAttrs", "Int", "Int64", "String", "Time", "Uint64"}

// harmless are the other names of log/slog that this repository may use.
var harmless = []string{
	"Attr", "DiscardHandler", "Handler", "HandlerOptions", "Level", "LevelDebug", "LevelError", "LevelInfo", "LevelVar", "LevelWarn", "Leveler", "Logger", "New", "NewTextHandler", "Record",
}

func (c *logCheck) file(name string, text []byte) error {
	f, err := parser.ParseFile(c.fset, name, text, 0)
	if err != nil {
		return err
	}
	c.name, c.imports = name, map[string]string{}
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		local := path[strings.LastIndex(path, "/")+1:]
		if m := regexp.MustCompile(`^v[0-9]+$`).FindString(local); m != "" {
			local = filepath.Base(filepath.Dir(path))
		}
		if spec.Name != nil {
			local = spec.Name.Name
		}
		c.imports[local] = path
		if path == "log" {
			c.fault(spec, "package \"log\"", `uses package "log"; expected log/slog`)
		}
	}
	for _, d := range f.Decls {
		c.body = d
		called := map[ast.Expr]bool{}
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				called[n.Fun] = true
				c.call(n)
			case *ast.SelectorExpr:
				c.selector(n, called[n])
			case *ast.CompositeLit:
				if s, ok := n.Type.(*ast.SelectorExpr); ok && c.isPackage(s.X) == "log/slog" && s.Sel.Name == "Attr" {
					c.fault(n, "slog.Attr", "makes a slog.Attr by hand; expected slog.String or the like")
				}
			}
			return true
		})
	}
	return nil
}

// isPackage returns the path of a package, if an expression is its name.
func (c *logCheck) isPackage(e ast.Expr) string {
	id, ok := e.(*ast.Ident)
	if !ok || id.Obj != nil { // Obj: a variable of the same name
		return ""
	}
	return c.imports[id.Name]
}

func (c *logCheck) call(n *ast.CallExpr) {
	s, ok := n.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	name, text := s.Sel.Name, c.text(s)
	switch path := c.isPackage(s.X); {
	case path == "log/slog" && slices.Contains(attributes, name):
		c.key(n.Args[0], text)
		return
	case path == "log/slog" && name == "NewRecord":
		c.message(n, 2, text)
		c.event = nil
		return
	case path != "":
		return
	}
	at, ok := messageAt[name]
	if !ok || name == "Error" && len(n.Args) == 0 { // an error's method
		return
	}
	c.isWith = at < 0
	defer func() { c.event, c.isWith = nil, false }()
	if at >= 0 {
		c.message(n, at, text)
	}
	args := n.Args[min(at+1, len(n.Args)):]
	if n.Ellipsis.IsValid() {
		c.list(args[len(args)-1], text)
		args = args[:len(args)-1]
	}
	c.pairs(args, text)
}

// selector finds a logger's method that is used other than by a call, and what
// else must not be used of log/slog.
func (c *logCheck) selector(s *ast.SelectorExpr, called bool) {
	name, path := s.Sel.Name, c.isPackage(s.X)
	_, method := messageAt[name]
	switch {
	case path == "log/slog":
		ok := slices.Contains(harmless, name) || called && (slices.Contains(attributes, name) || name == "NewRecord")
		if !ok {
			c.fault(s, "slog."+name, "uses slog."+name)
		}
	case path == "" && method && !called && (!ambiguous[name] || isLogger.MatchString(c.text(s.X))):
		c.fault(s, c.text(s), "uses "+c.text(s)+" as a method value")
	}
}

// message checks a call's message.
func (c *logCheck) message(n *ast.CallExpr, at int, call string) {
	message := ""
	lit, ok := (*ast.BasicLit)(nil), false
	if len(n.Args) > at {
		lit, ok = n.Args[at].(*ast.BasicLit)
	}
	if ok && lit.Kind == token.STRING {
		message, _ = strconv.Unquote(lit.Value)
	}
	if message == "" {
		c.fault(n, call, call+": message is not a string literal")
		return
	}
	c.messages[message] = true
	c.event = c.eventOf(message)
	c.event.level(n)
	if n := len([]rune(message)); n > 60 {
		c.fault(lit, call, fmt.Sprintf("message %q has %d characters; expected at most 60", message, n))
	}
	if strings.ContainsAny(message, "%\n=") {
		c.fault(lit, call, fmt.Sprintf("message %q: expected no formatting", message))
	}
	if !phrase.MatchString(message) {
		c.fault(lit, call, fmt.Sprintf("message %q: expected a phrase in lower case, or with acronyms, without a full stop", message))
	}
}

// phrase is words in lower case, and acronyms.
var phrase = regexp.MustCompile(`^([a-z'’-]+|[A-Z]+)[,;:]?( ([a-z'’-]+|[A-Z]+)[,;:]?)*$`)

// pairs checks keys, each with its value, and attributes among them.
func (c *logCheck) pairs(args []ast.Expr, call string) {
	for i := 0; i < len(args); i++ {
		if made, ok := args[i].(*ast.CallExpr); ok {
			if s, ok := made.Fun.(*ast.SelectorExpr); ok && c.isPackage(s.X) == "log/slog" {
				c.eventKey(made.Args[0])
				continue // call looks at its key
			}
		}
		c.key(args[i], call)
		if i++; i == len(args) {
			c.fault(args[i-1], call, call+": a key has no value")
		}
	}
}

func (c *logCheck) key(e ast.Expr, call string) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		c.fault(e, call, call+": key is not a string literal")
		return
	}
	key, _ := strconv.Unquote(lit.Value)
	c.eventKey(lit)
	if _, seen := c.keys[key]; !seen {
		c.keys[key] = c.fset.Position(lit.Pos())
	}
}

// list checks a variable that is given as a list of attributes: all that this
// function puts into it.
func (c *logCheck) list(e ast.Expr, call string) {
	id, ok := e.(*ast.Ident)
	if !ok {
		c.fault(e, call+" ...", call+": attributes from elsewhere")
		return
	}
	values, sound := 0, true
	take := func(names []ast.Expr, from []ast.Expr) {
		for i, name := range names {
			if l, ok := name.(*ast.Ident); ok && l.Name == id.Name {
				values++
				sound = sound && len(names) == len(from) && c.made(id, from[i], call)
			}
		}
	}
	ast.Inspect(c.body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			take(n.Lhs, n.Rhs)
		case *ast.ValueSpec:
			var names []ast.Expr
			for _, name := range n.Names {
				names = append(names, name)
			}
			take(names, n.Values)
		}
		return true
	})
	if values == 0 || !sound {
		c.fault(e, call+" ...", call+": attributes from elsewhere")
	}
}

// made checks the value that a list gets: a new one, or itself with more.
func (c *logCheck) made(list *ast.Ident, value ast.Expr, call string) bool {
	switch v := value.(type) {
	case *ast.CompositeLit:
		c.pairs(v.Elts, call)
		return true
	case *ast.CallExpr:
		f, ok := v.Fun.(*ast.Ident)
		if !ok || f.Name != "append" || v.Ellipsis.IsValid() {
			return false
		}
		first, ok := v.Args[0].(*ast.Ident)
		if !ok || first.Name != list.Name {
			return false
		}
		c.pairs(v.Args[1:], call)
		return true
	}
	return false
}

// fault takes down a fault, if it is no exception.
func (c *logCheck) fault(n ast.Node, what, text string) {
	exception := c.name + ": " + what
	if c.exceptions[exception] != "" {
		c.used[exception] = true
		return
	}
	c.faults = append(c.faults, fmt.Sprintf("%s: %s", c.fset.Position(n.Pos()), text))
}

func (c *logCheck) text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return c.text(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return c.text(e.Fun) + "()"
	}
	return "(…)"
}

// finish returns all faults, given the keys that are documented.
func (c *logCheck) finish(documented map[string]bool) []string {
	for _, key := range slices.Sorted(maps.Keys(c.keys)) {
		if !documented[key] {
			c.faults = append(c.faults, fmt.Sprintf("%s: key %q is not documented in %s", c.keys[key], key, guide))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(documented)) {
		if _, ok := c.keys[key]; !ok {
			c.faults = append(c.faults, fmt.Sprintf("%s documents the key %q, but no line has it", guide, key))
		}
	}
	for _, e := range slices.Sorted(maps.Keys(c.exceptions)) {
		if !c.used[e] {
			c.faults = append(c.faults, fmt.Sprintf("exception %q is of no use", e))
		}
	}
	return c.faults
}

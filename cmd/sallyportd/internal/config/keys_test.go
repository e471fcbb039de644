package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/sessions/gate"
	"sallyport/sessions/handshakes"
	"sallyport/verify/schedule"
)

const (
	head     = "ports = 3\nport_secret = \"x\"\nclients = \"c\"\n"
	services = head + "[[service]]\nname = \"one\"\nlisten = \":80\"\n"
	asked    = services + "type = \"web\"\n[challenge]\n[[operation]]\nid = \"ssh-alice\"\nsecret = \"x\"\nservice = \"one\"\n"
)

// text is a valid file up to and including the table's head; a key follows.
func (t table) text() string {
	switch {
	case t.kind != "":
		return services + "type = \"" + t.kind + "\"\n"
	case t.at != "":
		return asked
	}
	return head
}

func reference(t *testing.T) (*raw, *tomlfile.File) {
	t.Helper()
	r := new(raw)
	f, err := tomlfile.Decode("reference.toml", []byte(spelledOut()), r)
	if err != nil {
		t.Fatal(err)
	}
	return r, f
}

// TestKeys holds every key to its declaration: it has a reload class, an
// expectation, and a line in the reference, with its default if it has one; a
// wrong value is refused with file, line, what was expected and what was found;
// and of two configurations that differ in it, a reload obeys its class.
func TestKeys(t *testing.T) {
	r, f := reference(t)
	for _, b := range r.tables() {
		err := declared(reflect.ValueOf(b.fields).Elem(), b.at, b.class, "", func(d declaration) error {
			if kinds := d.field.Tag.Get("kinds"); kinds != "" && !contains(kinds, ",", b.kind) {
				return nil
			}
			if d.class != classLive && d.class != classRestart && d.class != classHelper {
				t.Errorf("%s: reload class %q", d.path, d.class)
			}
			expected(t, d)
			documented(t, d, b.kind, f)
			refused(t, d, b)
			obeyed(t, d, b)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// expected checks that what is said to be expected names every bound and every
// choice of the declaration.
func expected(t *testing.T, d declaration) {
	t.Helper()
	expect := d.field.Tag.Get("expect")
	if expect == "" {
		t.Errorf("%s: has no expectation", d.path)
	}
	for _, tag := range []string{"range", "oneof"} {
		for part := range strings.FieldsFuncSeq(strings.ReplaceAll(d.field.Tag.Get(tag), "..", "|"), func(r rune) bool { return r == '|' }) {
			if !strings.Contains(expect, part) {
				t.Errorf("%s: %s has %s, which is not expected: %s", d.path, tag, part, expect)
			}
		}
	}
}

// documented checks a key's lines in the reference: in one of the tables of its
// kind at least, and where it has a default, one with that.
func documented(t *testing.T, d declaration, kind string, f *tomlfile.File) {
	t.Helper()
	name := d.path
	text := d.byDefault(kind)
	places := []string{d.path}
	if strings.HasPrefix(d.path, "service.") {
		for i := range 3 {
			places = append(places, fmt.Sprintf("service.%d.%s", i, d.name))
		}
	}
	if prefix, last, ok := strings.Cut(d.path, ".response."); ok {
		places = append(places, prefix+".request."+last) // explained for requests
	}
	there := false
	for _, p := range places {
		there = there || f.Has(p)
	}
	if !there && !strings.Contains(Reference, "(with "+d.name+")") && !strings.Contains(Reference, "\n# "+d.name+" = \"…\"\n") {
		t.Errorf("%s: is not in the reference", name)
	}
	if text == "" {
		return
	}
	for line := range strings.Lines(Reference) {
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "# "), " = ")
		value, _, _ = strings.Cut(strings.TrimSpace(value), "  ")
		if key == d.name && same(d, strings.Trim(strings.TrimSpace(value), `"`), text) {
			return
		}
	}
	t.Errorf("%s: the reference does not give %s as its default", name, text)
}

func same(d declaration, a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := time.ParseDuration(a)
	y, err2 := time.ParseDuration(b)
	return d.value.Kind() == reflect.String && err1 == nil && err2 == nil && x == y
}

// refused gives a key values that are not as declared.
func refused(t *testing.T, d declaration, b table) {
	t.Helper()
	name := d.path
	wrong := []string{"5"}
	switch d.value.Kind() {
	case reflect.Int, reflect.Bool, reflect.Struct:
		wrong = []string{`"soon"`}
	}
	if d.field.Tag.Get("oneof") != "" {
		wrong = append(wrong, `"neither"`)
	}
	if ranges := d.field.Tag.Get("range"); ranges != "" {
		outside := map[reflect.Kind]string{reflect.Int: "-1", reflect.Slice: "[-1]", reflect.String: `"1ns"`}
		if strings.HasPrefix(ranges, "..") {
			outside[reflect.String] = `"9999h"`
		}
		wrong = append(wrong, outside[d.value.Kind()])
	}
	before, key := b.text(), d.path[len(b.at):]
	table, last, nested := cutLast(key)
	if nested { // of [challenge] and its tables
		before, key = services+"type = \"web\"\n["+table+"]\n", last
	}
	for _, value := range wrong {
		text := before + key + " = " + value + "\n"
		if !nested && strings.Contains("\n"+before, "\n"+key+" = ") {
			text = replaceLine(before, key, value)
		}
		line := strings.Count(text[:strings.LastIndex("\n"+text, "\n"+key+" = ")], "\n") + 1
		_, err := Parse("c.toml", []byte(text))
		want := fmt.Sprintf("c.toml:%d: ", line)
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), d.name+": expected "+d.field.Tag.Get("expect")) || !strings.Contains(err.Error(), ", got ") {
			t.Errorf("%s = %s:\ngot  %v\nwant %s…: expected %s, got …", name, value, err, want, d.field.Tag.Get("expect"))
		}
	}
}

func cutLast(path string) (before, last string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func replaceLine(text, key, value string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, key+" = ") {
			lines[i] = key + " = " + value + "\n"
		}
	}
	return strings.Join(lines, "")
}

// obeyed changes a key alone, and asks whether a reload takes it.
func obeyed(t *testing.T, d declaration, b table) {
	t.Helper()
	name := d.path
	changed, before := differing(d.value), reflect.ValueOf(d.value.Interface())
	config := func() *Config {
		r, _ := reference(t)
		for _, other := range r.tables() {
			err := declared(reflect.ValueOf(other.fields).Elem(), other.at, other.class, "", func(other declaration) error {
				if other.path == d.path {
					other.value.Set(before)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return &Config{Path: "c.toml", fixed: r.settings()}
	}
	old := config()
	before = changed
	next := config()
	for _, helped := range []bool{false, true} {
		err := old.Changed(next, helped)
		needs := d.class == classRestart || d.class == classHelper && helped
		if (err != nil) != needs || err != nil && !strings.Contains(err.Error(), d.name) {
			t.Errorf("%s, of class %s, has changed; with a helper %t: %v", name, d.class, helped, err)
		}
	}
}

// differing returns another value of the same type.
func differing(v reflect.Value) reflect.Value {
	other := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		other.SetString(v.String() + "x")
	case reflect.Bool:
		other.SetBool(!v.Bool())
	case reflect.Int:
		other.SetInt(v.Int() + 1)
	case reflect.Slice:
		other = reflect.Append(v, reflect.Zero(v.Type().Elem()))
	default:
		other.Set(reflect.ValueOf(v.Interface().(time.Time).Add(time.Hour)))
	}
	return other
}

// TestDefaults: what is declared is what a file without the key gets.
func TestDefaults(t *testing.T) {
	r := new(raw)
	f, err := tomlfile.Decode("c.toml", []byte(minimal), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(f, r, "", ""); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string][2]any{
		"a number":             {r.ReceiveBuffer, 1 << 20},
		"a text":               {r.Generator, "algorithm1"},
		"true":                 {r.KernelFilter, true},
		"of a table":           {r.Challenge.Request.DataBits, 8},
		"none":                 {r.User, ""},
		"what the file has":    {r.Ports, 3},
		"none, in a table":     {r.Challenge.Request.SequenceBits, 0},
		"a text, in one of it": {r.Challenge.Response.Scheme, "ranges"},
	} {
		if row[0] != row[1] {
			t.Errorf("%s: %v, want %v", name, row[0], row[1])
		}
	}
}

// TestLoadReadsWhatIsNeeded: a configuration alone is read whatever has become
// of the files that it names.
func TestLoadReadsWhatIsNeeded(t *testing.T) {
	text := strings.Replace(minimal, `port_secret = "hunter2"`, `port_secret_file = "gone"`, 1)
	path := filepath.Join(files(t, map[string]string{"c.toml": text}), "c.toml")
	if _, err := Load(path, Alone); err != nil {
		t.Error(err)
	}
	if _, err := Load(path, Secrets); err == nil || !strings.Contains(err.Error(), "read the port secret") {
		t.Errorf("got %v", err)
	}
	path = filepath.Join(files(t, map[string]string{"c.toml": minimal + "root = \"gone\"\n"}), "c.toml")
	if _, err := Load(path, Secrets); err != nil {
		t.Error(err)
	}
	if _, err := Load(path, All); err == nil || !strings.Contains(err.Error(), "c.toml:8: service.0.root: expected") {
		t.Errorf("got %v", err)
	}
}

// TestCheck holds configurations against hosts that are literals.
func TestCheck(t *testing.T) {
	filters, does := Host{FirstOpenPort: 1024}, Host{FilterTCP: true, FirstOpenPort: 1024}
	filtered := minimal + "look = \"filtered\"\n"
	twice := filtered + second("two", "127.0.0.2:8080", "web")
	for _, row := range []struct {
		text  string
		host  Host
		needs Needs
		err   string
	}{
		{minimal, filters, Needs{}, ""},
		{strings.Replace(minimal, ":8080", ":80", 1), filters, Needs{LowPorts: true}, ""},
		{strings.Replace(minimal, ":8080", ":80", 1), Host{FirstOpenPort: 80}, Needs{}, ""},
		{filtered, does, Needs{}, ""},
		{filtered, filters, Needs{Helper: `service web, with look = "filtered", which this kernel lets nobody else have,`}, ""},
		{"stealth = true\n" + minimal, does, Needs{Helper: "stealth = true"}, ""},
		{minimal + second("ssh", ":22", "firewall"), does, Needs{Helper: `service ssh, of type "firewall",`}, ""},
		// The firewall knows a port by its number alone; sockets do not.
		{twice, does, Needs{}, ""},
		{twice, filters, Needs{Helper: `service web, with look = "filtered", which this kernel lets nobody else have,`}, `c.toml:11: service.1.listen: `},
	} {
		cfg, err := Parse("c.toml", []byte(row.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Needs(row.host); got != row.needs {
			t.Errorf("%s\non %+v: needs %+v, want %+v", row.text, row.host, got, row.needs)
		}
		if err := cfg.Check(row.host); (err != nil) != (row.err != "") || err != nil && !strings.HasPrefix(err.Error(), row.err) {
			t.Errorf("%s\non %+v: got %v, want %s", row.text, row.host, err, row.err)
		}
	}
}

func TestPortLists(t *testing.T) {
	cfg := Config{Ports: 3, PortSecret: PortSecret{Current: "now", Previous: "before", Until: time.Unix(600, 0)}}
	for m, want := range map[int64]int{9: 2, 10: 1, 11: 1} {
		lists, err := cfg.PortLists()(schedule.Minute(m))
		if err != nil || len(lists) != want {
			t.Errorf("minute %d: %v, %v", m, lists, err)
		}
	}
}

// TestDeclarationsAgree: the numbers that a declaration repeats, since a tag is a
// constant text, are those of the parts that they are for.
func TestDeclarationsAgree(t *testing.T) {
	for path, want := range map[string]map[string]any{
		"ports":                           {"range": fmt.Sprintf("1..%d", schedule.MaxPorts)},
		"clock_tolerance":                 {"default": fmt.Sprintf("%.0fs", schedule.MaxTolerance.Seconds()), "range": fmt.Sprintf("5s..%.0fs", schedule.MaxTolerance.Seconds())},
		"stealth_except":                  {"range": fmt.Sprintf("%d..%d", schedule.MinPort, schedule.MaxPort)},
		"challenge.exchanges":             {"default": handshakes.DefaultSlots, "range": fmt.Sprintf("%d..%d", handshakes.MinSlots, handshakes.MaxSlots)},
		"challenge.challenges_per_second": {"default": handshakes.DefaultRate},
	} {
		found := false
		declared(reflect.ValueOf(new(raw)).Elem(), "", "", "", func(d declaration) error {
			if d.path == path {
				found = true
				for tag, text := range want {
					if got := d.field.Tag.Get(tag); got != fmt.Sprint(text) {
						t.Errorf("%s: %s is %s, want %v", path, tag, got, text)
					}
				}
			}
			return nil
		})
		if !found {
			t.Errorf("there is no key %s", path)
		}
	}
	for list, most := range map[string]int{"Service": gate.MaxServices, "Operation": maxOperations} {
		field, _ := reflect.TypeFor[raw]().FieldByName(list)
		if expect := field.Tag.Get("expect"); !strings.HasSuffix(expect, fmt.Sprintf("1 to %d", most)) {
			t.Errorf("%s: expected %s, want at most %d", list, expect, most)
		}
	}
}

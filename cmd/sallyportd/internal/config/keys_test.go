package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/internal/tomlfile"
	"sallyport/ingest"
	"sallyport/sessions/client"
	"sallyport/sessions/gate"
	"sallyport/sessions/handshakes"
	"sallyport/verify/schedule"
)

const (
	general  = "ports = 3\nport_secret = \"x\"\nclients = \"c\"\n"
	services = general + "[[service]]\nname = \"one\"\nlisten = \":80\"\n"
	operated = services + "type = \"web\"\n[challenge]\n[[operation]]\nid = \"ssh-alice\"\nsecret = \"x\"\nservice = \"one\"\n"
)

// text is a valid file that ends with this table, to which a test adds a key.
func (t table) text() string {
	switch {
	case t.kind == "command": // no port
		return strings.Replace(services, "listen = \":80\"\n", "", 1) + "type = \"command\"\n"
	case t.kind != "":
		return services + "type = \"" + t.kind + "\"\n"
	case t.list != "":
		return operated + "[[challenge.http]]\nlisten = \":443\"\nhost = \"www.example.org\"\n"
	case t.at != "":
		return operated
	}
	return general
}

func reference(t *testing.T) (*raw, *tomlfile.File) {
	t.Helper()
	r := new(raw)
	f, err := tomlfile.Decode("reference.toml", []byte(uncommented()), r)
	if err != nil {
		t.Fatal(err)
	}
	return r, f
}

// TestKeys checks each key against its declaration. The key has a reload class, an
// expected value, and a line in the reference with its default. A wrong value is an
// error with the file, the line, the expected value and the value found. A reload
// applies or rejects a change as its reload class requires.
func TestKeys(t *testing.T) {
	r, f := reference(t)
	for _, b := range r.tables() {
		err := walkKeys(reflect.ValueOf(b.fields).Elem(), b.at, b.class, "", func(d declaration) error {
			if kinds := d.field.Tag.Get("kinds"); kinds != "" && !contains(kinds, ",", b.kind) {
				return nil
			}
			if d.class != classLive && d.class != classRestart && d.class != classHolder && d.class != classFirewall {
				t.Errorf("%s: reload class %q", d.path, d.class)
			}
			checkExpect(t, d)
			checkReference(t, d, b.kind, f)
			checkErrors(t, d, b)
			checkReloadClass(t, r, d)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkExpect checks that the expected value names all bounds and choices of the
// declaration.
func checkExpect(t *testing.T, d declaration) {
	t.Helper()
	expect := d.field.Tag.Get("expect")
	if expect == "" {
		t.Errorf("%s: has no tag expect", d.path)
	}
	for _, tag := range []string{"range", "oneof"} {
		parts := strings.ReplaceAll(d.field.Tag.Get(tag), "..", "|")
		for part := range strings.FieldsFuncSeq(parts, func(r rune) bool { return r == '|' }) {
			if !strings.Contains(expect, part) {
				t.Errorf("%s: %s has %s, which the expected value does not name: %s", d.path, tag, part, expect)
			}
		}
	}
}

// checkReference checks that the reference has the key in at least one table of its
// kind and, if the key has a default, a line with this default.
func checkReference(t *testing.T, d declaration, kind string, f *tomlfile.File) {
	t.Helper()
	text := d.defaultText(kind)
	places := []string{d.path}
	if strings.HasPrefix(d.path, "service.") {
		for i := range 6 {
			places = append(places, fmt.Sprintf("service.%d.%s", i, d.name))
		}
	}
	if prefix, last, ok := strings.Cut(d.path, ".response."); ok {
		places = append(places, prefix+".request."+last) // the reference explains it for requests
	}
	found := false
	for _, p := range places {
		found = found || f.Has(p)
	}
	found = found || strings.Contains(Reference, "(with "+d.name+")")
	for _, other := range []string{`"…"`, `["…"]`, "…"} { // with this key, the rest would not be valid
		found = found || strings.Contains(Reference, "\n# "+d.name+" = "+other+"\n")
	}
	if !found {
		t.Errorf("%s: is not in the reference", d.path)
	}
	if text == "" {
		return
	}
	for line := range strings.Lines(Reference) {
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "# "), " = ")
		value, _, _ = strings.Cut(strings.TrimSpace(value), "  ")
		if key == d.name && sameValue(d, strings.Trim(strings.TrimSpace(value), `"`), text) {
			return
		}
	}
	t.Errorf("%s: the reference does not have its default %s", d.path, text)
}

func sameValue(d declaration, a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := time.ParseDuration(a)
	y, err2 := time.ParseDuration(b)
	return d.value.Kind() == reflect.String && err1 == nil && err2 == nil && x == y
}

// checkErrors sets a key to values that do not match its declaration.
func checkErrors(t *testing.T, d declaration, b table) {
	t.Helper()
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
	if nested { // in [challenge] and its tables
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
		expected := d.name + ": expected " + d.field.Tag.Get("expect")
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), expected) ||
			!strings.Contains(err.Error(), ", got ") {
			t.Errorf("%s = %s:\ngot  %v\nwant %s…%s, got …", d.path, value, err, want, expected)
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

// checkReloadClass changes a single key, and checks whether a reload accepts it.
func checkReloadClass(t *testing.T, r *raw, d declaration) {
	t.Helper()
	// The settings have a copy of the value.
	config := func() *Config { return &Config{Path: "c.toml", fixed: r.settings()} }
	before := reflect.New(d.value.Type()).Elem()
	before.Set(d.value)
	defer d.value.Set(before)
	old := config()
	d.value.Set(otherValue(d.value))
	next := config()
	for _, withHolder := range []bool{false, true} {
		err := old.Changed(next, withHolder)
		restart := d.class == classRestart || d.class == classHolder && withHolder || d.class == classFirewall && !withHolder
		if (err != nil) != restart || err != nil && !strings.Contains(err.Error(), d.name) {
			t.Errorf("%s, of class %s, has changed; with a helper %t: %v", d.path, d.class, withHolder, err)
		}
	}
}

// otherValue returns a different value of the same type.
func otherValue(v reflect.Value) reflect.Value {
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
	case reflect.Interface:
		other.Set(reflect.ValueOf(fmt.Sprint(v.Interface(), "x")))
	default:
		other.Set(reflect.ValueOf(v.Interface().(time.Time).Add(time.Hour)))
	}
	return other
}

// TestDefaults: a key that is not in the file has its declared default.
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
		"set in the file":      {r.Ports, 3},
		"none, in a table":     {r.Challenge.Request.SequenceBits, 0},
		"a text, in one of it": {r.Challenge.Response.Scheme, "ranges"},
	} {
		if row[0] != row[1] {
			t.Errorf("%s: %v, want %v", name, row[0], row[1])
		}
	}
}

// TestLoadReadsOnlyNeededFiles: Load with Alone does not read the files that the
// configuration names.
func TestLoadReadsOnlyNeededFiles(t *testing.T) {
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
	if _, err := Load(path, All); err == nil || !strings.Contains(err.Error(), "c.toml:8: service 1: root: expected") {
		t.Errorf("got %v", err)
	}
}

// TestAdvice: the look that is the same at all times is recommended where the kernel lets
// a socket filter TCP, and the firewall elsewhere.
func TestAdvice(t *testing.T) {
	for _, row := range []struct {
		text string
		able bool
		want string
	}{
		{minimal, true, `look = "filtered" looks the same at all times`},
		{minimal, false, "with this kernel, hiding it requires CAP_NET_ADMIN and stealth = true"},
		{minimal + "look = \"filtered\"\n", true, ""},
		{"stealth = true\n" + minimal, false, ""},
	} {
		cfg, err := Parse("c.toml", []byte(row.text))
		if err != nil {
			t.Fatal(err)
		}
		got := cfg.Services[0].Advice(cfg, Host{FilterTCP: row.able, FirstOpenPort: 1024})
		if row.want == "" && got != "" || !strings.HasSuffix(got, row.want) {
			t.Errorf("%+v: got %q", row, got)
		}
	}
}

// TestCheck checks configurations against hosts that are literals.
func TestCheck(t *testing.T) {
	withoutFilter, withFilter := Host{FirstOpenPort: 1024}, Host{FilterTCP: true, FirstOpenPort: 1024}
	filtered := minimal + "look = \"filtered\"\n"
	twice := filtered + serviceText("two", "127.0.0.2:8080", "web")
	for _, row := range []struct {
		text  string
		host  Host
		needs Needs
		err   string
	}{
		{minimal, withoutFilter, Needs{}, ""},
		{strings.Replace(minimal, ":8080", ":80", 1), withoutFilter, Needs{LowPorts: true}, ""},
		{strings.Replace(minimal, ":8080", ":80", 1), Host{FirstOpenPort: 80}, Needs{}, ""},
		{filtered, withFilter, Needs{}, ""},
		{filtered, withoutFilter, Needs{Holder: `service web, with look = "filtered", which requires the firewall with this kernel,`}, ""},
		{"stealth = true\n" + minimal, withFilter, Needs{Holder: "stealth = true"}, ""},
		{minimal + serviceText("ssh", ":22", "firewall"), withFilter, Needs{Holder: `service ssh, of type "firewall",`}, ""},
		// The firewall identifies a service by its port alone; a socket also has an
		// address.
		{twice, withFilter, Needs{}, ""},
		{twice, withoutFilter, Needs{Holder: `service web, with look = "filtered", which requires the firewall with this kernel,`}, `c.toml:11: service 2: listen: `},
	} {
		cfg, err := Parse("c.toml", []byte(row.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Needs(row.host); got != row.needs {
			t.Errorf("%s\non %+v: needs %+v, want %+v", row.text, row.host, got, row.needs)
		}
		err = cfg.Check(row.host)
		if (err != nil) != (row.err != "") || err != nil && !strings.HasPrefix(err.Error(), row.err) {
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

// TestDeclarationsAgree: the numbers in tags, which are constant texts, are those of
// the packages that define them.
func TestDeclarationsAgree(t *testing.T) {
	tolerance := fmt.Sprintf("%.0fs", schedule.MaxTolerance.Seconds())
	for path, want := range map[string]map[string]any{
		"ports":                           {"range": fmt.Sprintf("1..%d", schedule.MaxPorts)},
		"clock_tolerance":                 {"default": tolerance, "range": "5s.." + tolerance},
		"stealth_except":                  {"range": fmt.Sprintf("%d..%d", schedule.MinPort, schedule.MaxPort)},
		"challenge.exchanges":             {"default": handshakes.DefaultSlots, "range": fmt.Sprintf("%d..%d", handshakes.MinSlots, handshakes.MaxSlots)},
		"challenge.challenges_per_second": {"default": handshakes.DefaultRate},
	} {
		found := false
		walkKeys(reflect.ValueOf(new(raw)).Elem(), "", "", "", func(d declaration) error {
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

// TestQueueBounds: the range of "queue" is that of package ingest, which sizes its
// memory by it.
func TestQueueBounds(t *testing.T) {
	for n, ok := range map[int]bool{
		ingest.MinQueue - 1: false, ingest.MinQueue: true, ingest.DefaultQueue: true, ingest.MaxQueue: true, ingest.MaxQueue + 1: false,
	} {
		c, err := Parse("c.toml", fmt.Appendf(nil, "queue = %d\n%s", n, minimal))
		if (err == nil) != ok || ok && c.Queue != n {
			t.Errorf("queue = %d: %v", n, err)
		}
	}
	if c, err := Parse("c.toml", []byte(minimal)); err != nil || c.Queue != ingest.DefaultQueue {
		t.Errorf("the default is %d, %v", c.Queue, err)
	}
}

// TestBindISN: a service with bind = "isn" requires the number everywhere: in the
// firewall, in the holder's policy, and in profiles.
func TestBindISN(t *testing.T) {
	plain, err := Parse("c.toml", []byte(minimal+serviceText("two", ":81", "firewall")))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := Parse("c.toml", []byte(minimal+serviceText("two", ":81", "firewall")+"bind = \"isn\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[*Config]bool{plain: false, bound: true} {
		s := &c.Services[1]
		got := []bool{c.RequiresISN(), s.RequireISN, c.Firewall().Ports[1].RequireISN, c.Policy().Services[1].RequireISN, s.ProfileBind() == client.BindISN}
		for i, is := range got {
			if is != want {
				t.Errorf("bound %t: %d is %t", want, i, is)
			}
		}
		if c.Services[0].RequireISN || c.Firewall().Ports[0].RequireISN {
			t.Error("another service requires a number")
		}
	}
	if plain.Digest() == bound.Digest() {
		t.Error("a holder that compares no number has the same digest")
	}
}

// TestBindConnection: a service with bind = "connection" has it in its profiles, with its
// name. The firewall and its holder know nothing of it.
func TestBindConnection(t *testing.T) {
	plain, err := Parse("c.toml", []byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := Parse("c.toml", []byte(minimal+"bind = \"connection\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[*Config]bool{plain: false, bound: true} {
		s := &c.Services[0]
		got := []bool{
			c.Proves(), s.Proves, s.ProfileBind() == client.BindConnection, s.ProfileServiceName() == s.Name,
			strings.Contains(s.Describe(), "each connection must prove"),
		}
		for i, is := range got {
			if is != want {
				t.Errorf("bound %t: %d is %t", want, i, is)
			}
		}
		if s.RequireISN || c.RequiresISN() {
			t.Error("requires a sequence number")
		}
	}
	if plain.Digest() != bound.Digest() {
		t.Error("the holder's digests differ")
	}
	if err := plain.Changed(bound, false); err == nil {
		t.Error("a reload applies the change")
	}
}

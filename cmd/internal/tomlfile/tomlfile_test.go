package tomlfile

import (
	"strings"
	"testing"
	"time"
)

type config struct {
	Ports    int      `toml:"ports" expect:"a whole number from 1 to 128"`
	Name     string   `toml:"name" expect:"text"`
	List     []string `toml:"list" expect:"a list of texts"`
	For      string   `toml:"for" expect:"a duration such as \"10s\""`
	Services []struct {
		Listen string `toml:"listen" expect:"host:port"`
		On     bool   `toml:"on" expect:"true or false"`
	} `toml:"service" expect:"a [[service]] table"`
	Challenge struct {
		Rate int `toml:"rate" expect:"a rate"`
	} `toml:"challenge" expect:"a [challenge] table"`
}

func TestDecode(t *testing.T) {
	var c config
	f, err := Decode("x.toml", []byte("# comment\nports = 3\nfor = \"1m30s\"\n[[service]]\nlisten = \"a\"\n\n[[service]]\non = true\nlisten = \"b\"\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Ports != 3 || c.For != "1m30s" || len(c.Services) != 2 || c.Services[1].Listen != "b" {
		t.Errorf("got %+v", c)
	}
	for key, want := range map[string]string{
		"ports":            "x.toml:2: ports: expected a whole number from 1 to 128, got 0",
		"service.1.listen": "x.toml:9: service 2: listen: expected host:port, got 0",
		"name":             "x.toml: name: expected text, got 0",                     // not in the file
		"service.0.on":     "x.toml:4: service 1: on: expected true or false, got 0", // not in its table
	} {
		if got := f.Errorf(key, "got %d", 0).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if !f.Has("service.0.listen") || f.Has("name") {
		t.Error("Has")
	}
}

func TestDuration(t *testing.T) {
	var c config
	f, err := Decode("x.toml", []byte("name = ''\nfor = 'soon'\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := f.Duration("for", "1m30s", 0); d != 90*time.Second || err != nil {
		t.Errorf("got %v, %v", d, err)
	}
	if d, err := f.Duration("missing", "", time.Second); d != time.Second || err != nil {
		t.Errorf("default: got %v, %v", d, err)
	}
	_, err = f.Duration("for", c.For, 0)
	if err == nil || err.Error() != `x.toml:2: for: expected a duration such as "10s", got text that is not a duration; write numbers with units (ms, s, m, h, d, w), such as "1m30s"` {
		t.Errorf("got %v", err)
	}
	_, err = f.Duration("for", "30", 0)
	if err == nil || !strings.HasSuffix(err.Error(), `got "30" without a unit; write "30s", or another unit (ms, s, m, h, d, w)`) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Duration("for", "", 0); err == nil {
		t.Error("an empty value in the file became the default")
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"ports = 'x'":                       "x.toml:1: ports: expected a whole number from 1 to 128",
		"\nports = 1.5":                     "x.toml:2: ports: expected a whole number from 1 to 128",
		"ports = 99999999999999999999":      "x.toml:1: ports: expected a whole number from 1 to 128",
		"ports = [1]":                       "x.toml:1: ports: expected a whole number from 1 to 128",
		"[ports]\nx = 1":                    "expected a whole number from 1 to 128",
		"name = 3":                          "x.toml:1: name: expected text",
		"list = [3]":                        "x.toml:1: list: expected a list of texts",
		"for = 10":                          `x.toml:1: for: expected a duration such as "10s"`,
		"service = 3":                       "x.toml:1: service: expected a [[service]] table",
		"[[service]]\non = 'yes'":           "x.toml:2: service 1: on: expected true or false, got text",
		"port = 3":                          `x.toml:1: port: unknown key "port"; did you mean ports?`,
		"[[service]]\nlisten='a'\nopen=''":  `x.toml:3: service 1: open: unknown key "open"; expected one of listen, on`,
		"Ports = 3":                         `x.toml:1: Ports: unknown key "Ports"; did you mean ports?`,
		"service = [{listen='a', ON=true}]": `x.toml:1: service 1: ON: unknown key "ON"; did you mean on?`,
		"[[service]]\n[[SERVICE]]":          `x.toml:2: SERVICE`,
		"ports = 1\nports = 2":              "x.toml:2: ports: expected each key once, got it a second time",
		"ports = ":                          "x.toml:1: ports: expected a whole number from 1 to 128",
		"name = 'a\n":                       "x.toml:1: name: expected text",
		"name = bare":                       "x.toml:1: name: expected text",
		"[[service]]\nlisten = bare":        "x.toml:2: service 1: listen: expected host:port, got text without quotes; write it in quotes",
		"address = 3":                       `x.toml:1: address: unknown key "address"; expected one of ports, name, list, for, service, challenge`,
		"[[service]]\nlisten='a'\n[[service]]\nlisten=':1'\nports=1": `x.toml:5: service 2: ports: unknown key "ports"; write it before the first [table] of the file`,
		"listen = ':1'":                               `x.toml:1: listen: unknown key "listen"; it is a key of [[service]]`,
		"Challnge = 1":                                `x.toml:1: Challnge: unknown key "Challnge"; did you mean challenge?`,
		"[servce]\nlisten = ':1'":                     `x.toml:1: servce: unknown key "servce"; did you mean service?`,
		"[service]\nlisten = ':1'":                    "x.toml:1: expected [[service]], with two brackets on each side, got [service]",
		"[[service]]\nlisten='a'\n[service]\non=true": "x.toml:3: expected [[service]], with two brackets on each side, got [service]",
		"[[challenge]]\nrate = 1":                     "x.toml:1: expected [challenge], with one bracket on each side, got [[challenge]]",
		"service.listen = 'a'":                        "x.toml:1: expected a table [[service]], got a key of service without it",
		"service = {listen = 'a'}":                    "x.toml:1: expected a table [[service]], got a key of service without it",
		"[[service]\nlisten = 'a'":                    "x.toml:1: expected [TABLE] or [[TABLE]], with as many brackets on the right as on the left",
		"ports = 1\n[[service]]\non=true\n[[service]]\nlisten = \":22\non = true": "x.toml:5: service 2: listen: expected host:port, got text without its closing quote",
		"[[service]]\nlisten = “:22”":                                             "x.toml:2: service 1: listen: expected host:port, got curly quotes; write straight ones (\")",
		"[[service]]\nlisten = \":22”":                                            "x.toml:2: service 1: listen: expected host:port, got a curly quote at the end; write a straight one (\")",
		"[[service]]\nlisten = 22":                                                "x.toml:2: service 1: listen: expected host:port, got a number or a time; write text in quotes",
		"[[service]]\nlisten = :22":                                               "x.toml:2: service 1: listen: expected host:port, got text without quotes; write it in quotes",
		"for = 30":                                                                `x.toml:1: for: expected a duration such as "10s", got a number or a time; write it in quotes, with a unit (ms, s, m, h, d, w)`,
		"for = 30s":                                                               `x.toml:1: for: expected a duration such as "10s", got a number or a time; write it in quotes, with a unit (ms, s, m, h, d, w)`,
		"list = [\n 'a',\n b ]\nports=1":                                          "x.toml:1: list: expected a list of texts, got a list that has an entry of another kind, or lacks a comma or its closing bracket",
		"list=['a'\nports=1\n":                                                    "x.toml:1: list: expected a list of texts, got a list that has an entry of another kind, or lacks a comma or its closing bracket",
		"name = 'a' b":                                                            "x.toml:1: name: expected text, got more than a text; write one text in quotes",
		"[challenge]\nrate 3":                                                     "x.toml:2: challenge.rate: expected KEY = VALUE, got the key without =",
		"[challenge]\nrate = 'x'":                                                 "x.toml:2: challenge.rate: expected a rate, got text",
		"[challenge]\nrate = 1\n[challenge]":                                      "x.toml:3: challenge: expected each key once",
		"[[service]]\non=true\non=true":                                           "x.toml:3: service 1: on: expected each key once, got it a second time",
		"what is this":                                                            "x.toml:1: expected KEY = VALUE or [TABLE], as in TOML, with quotes around text",
	} {
		var c config
		_, err := Decode("x.toml", []byte(text), &c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestErrorsDoNotRepeatValues(t *testing.T) {
	for _, text := range []string{"ports = 'hunter2'", "name = 'hunter2\n", "list = 'hunter2'", "name = hunter2", "hunter2", "hunter2 = 3 3", "for = 'hunter2", "name = “hunter2”", "name = hunter2'", "list = [hunter2"} {
		var c config
		if _, err := Decode("x.toml", []byte(text), &c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("ports = 3\n[[service]]\nlisten = 'a'\n"))
	f.Add([]byte("service = [{listen='a'}]\n[x.y]\n'a.b' = 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c config
		file, err := Decode("x.toml", data, &c)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.toml:") {
				t.Fatalf("no position: %v", err)
			}
			return
		}
		for key, line := range file.lines {
			if field, ok := file.field(split(key)); key != "" && (!ok || field.Tag.Get("expect") == "") {
				t.Fatalf("unknown key %q accepted", key)
			}
			if line < 1 || line > 1+strings.Count(string(data), "\n") {
				t.Fatalf("%q at line %d", key, line)
			}
		}
	})
}

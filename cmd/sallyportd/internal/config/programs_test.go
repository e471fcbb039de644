package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/sessions/gate/program"
)

// processText is a service of type "process" with more keys, and hookText one of type
// "command".
func processText(keys string) string {
	return "[[service]]\nname = \"site\"\ntype = \"process\"\nlisten = \":8081\"\n" +
		"program = [\"/bin/site\"]\nprogram_user = \"www\"\n" + keys + "\n"
}

func hookText(keys string) string {
	return "[[service]]\nname = \"hook\"\ntype = \"command\"\n" + keys + "\n"
}

const (
	onLoopback = "upstream = \"127.0.0.1:9000\"\n"
	onOpen     = "on_open = [\"/bin/allow\"]\ncommand_user = \"nobody\"\n"
)

// TestProgramsRefused: each row breaks one rule.
func TestProgramsRefused(t *testing.T) {
	onWeb := func(keys string) string { return minimal + keys + "\n" }
	process := func(keys string) string { return minimal + processText(keys) }
	hook := func(keys string) string { return minimal + hookText(keys) }
	without := func(key string) string {
		var kept []string
		for line := range strings.Lines(process(onLoopback)) {
			if !strings.HasPrefix(line, key+" = ") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	with := func(key, value string) string { return without(key) + key + " = " + value + "\n" }
	for text, want := range map[string]string{
		without("program"):      `c.toml:8: service 2: program: expected the absolute path of a server program`,
		without("program_user"): `c.toml:8: service 2: program_user: expected the name or number of the user that the program runs as, neither root nor the server's user, got nothing`,
		without("upstream"):     `c.toml:8: service 2: upstream: `,
		minimal + strings.Replace(processText(onLoopback), "listen = \":8081\"\n", "", 1): `c.toml:8: service 2: listen: `,
		with("program", `[]`):                                             `service 2: program: expected the absolute path of a server program and its arguments, such as ["/usr/sbin/nginx", "-g", "daemon off;"], got an empty list`,
		with("program", `["nginx", "-g"]`):                                `c.toml:15: service 2: program: `,
		with("program", `["./nginx"]`):                                    `got "./nginx", which is not the absolute path of a program`,
		with("program", `["/usr/bin/"]`):                                  `got "/usr/bin/", which is not the absolute path of a program`,
		with("program", `["/bin/a", "b\u0000c"]`):                         `got an entry (2) with a zero byte`,
		with("program", `["/bin/a", "`+strings.Repeat("x", 4097)+`"]`):    `got an entry (2) with 4097 bytes; at most 4096 are possible`,
		with("program", `["/bin/a"`+strings.Repeat(`, "x"`, 128)+`]`):     `got 129 entries; at most 128 are possible`,
		with("program", `"/bin/a"`):                                       `service 2: program: expected the absolute path`,
		with("program_user", `"root"`):                                    `service 2: program_user: expected the name or number of the user that the program runs as, neither root nor the server's user, got "root"`,
		with("program_user", `"0"`):                                       `program_user: `,
		with("program_user", `"00"`):                                      `got "00": a program that strangers or clients can influence must not run as root`,
		with("program_user", `"www data"`):                                `program_user: `,
		"user = \"www\"\n" + process(onLoopback):                          `service 2: program_user: expected the name or number of the user that the program runs as, neither root nor the server's user, got "www", the user of the server, whose secrets the program could read`,
		"user = \"nobody\"\n" + hook(onOpen):                              `service 2: command_user: expected the name or number of the user that on_open and on_close run as, neither root nor the server's user, got "nobody", the user of the server`,
		with("upstream", `"10.0.0.1:80"`):                                 `got "10.0.0.1:80": strangers could reach the program at this address without the gate`,
		with("upstream", `":9000"`):                                       `service 2: upstream: `,
		with("upstream", `"0.0.0.0:9000"`):                                `service 2: upstream: `,
		with("upstream", `"localhost:9000"`):                              `got "localhost:9000": the host must be an address, such as 127.0.0.1`,
		with("upstream", `"unix:site.sock"`):                              `got "unix:site.sock"`,
		with("upstream", `"unix:/run/../site"`):                           `got "unix:/run/../site": the path must be absolute, without ".", ".." and empty parts`,
		with("upstream", `"unix:/run/a//s"`):                              `got "unix:/run/a//s": the path must be absolute, without ".", ".." and empty parts`,
		with("upstream", `"unix:/"`):                                      `got "unix:/"`,
		with("upstream", `"unix:/`+strings.Repeat("x", 107)+`"`):          `whose path has 108 bytes; at most 107 are possible`,
		with("upstream", `"127.0.0.1:8080"`):                              `c.toml:15: service 2: upstream: expected host:port, or "unix:/PATH" for TCP, to which connections are forwarded; for type "process" on the loopback, or "inherit", got "127.0.0.1:8080", which is a port of service web`,
		with("upstream", `"127.0.0.1:8081"`):                              `got "127.0.0.1:8081", which is a port of service site`,
		with("upstream", `"[::1]:8081"`):                                  `got "[::1]:8081", which is a port of service site`,
		process("upstream = \"inherit\"\nprotocol = \"udp\""):             `got "inherit" for UDP, which requires an address and port`,
		process("upstream = \"unix:/run/x\"\nprotocol = \"udp\""):         `got "unix:/run/x" for UDP, which requires an address and port`,
		process(onLoopback + "proxy_protocol = true\nprotocol = \"udp\""): `service 2: proxy_protocol: expected true or false, for TCP, got true for UDP`,
		process(onLoopback) + strings.Replace(strings.Replace(processText(onLoopback), `"site"`, `"two"`, 1), ":8081", ":82", 1):                                     `service 3: upstream: expected host:port, or "unix:/PATH" for TCP, to which connections are forwarded; for type "process" on the loopback, or "inherit", got "127.0.0.1:9000", the upstream of service site`,
		process(onLoopback) + strings.Replace(strings.Replace(processText(`upstream = "[::ffff:127.0.0.1]:9000"`+"\n"), `"site"`, `"two"`, 1), ":8081", ":82", 1):    `got "[::ffff:127.0.0.1]:9000", the upstream of service site`,
		process("upstream = \"unix:/run/x\"") + strings.Replace(strings.Replace(processText("upstream = \"unix:/run/x\""), `"site"`, `"two"`, 1), ":8081", ":82", 1): `got "unix:/run/x", the upstream of service site`,
		process(onLoopback) + "[challenge]\ntransport = \"tcp\"\nanswer_port = 9000\n[[operation]]\nid = \"ssh-alice\"\nsecret = \"x\"\nservice = \"web\"\n":         `challenge.answer_port: expected a TCP port, from 1 to 65535, that is neither one of ports nor a service's, got 9000, at which the program of a service listens`,
		process(onLoopback + "start_within = \"10ms\""):                   `start_within: expected a duration from "100ms" to "10m", got "10ms"`,
		process(onLoopback + "stop_after = \"1h\""):                       `stop_after: expected a duration from "100ms" to "5m", got "1h"`,
		process(onLoopback + "program_dir = \"srv\""):                     `c.toml:15: service 2: program_dir: expected the absolute path of a directory, got "srv"`,
		process(onLoopback + "program_env = [\"LANG\"]"):                  `program_env: expected a list of variables in quotes, such as ["LANG=C.UTF-8"], got an entry (1) that is not NAME=VALUE`,
		process(onLoopback + "program_env = [\"=x\"]"):                    `got an entry (1) that is not NAME=VALUE`,
		process(onLoopback + "program_env = [\"A=1\", \"A=2\"]"):          `got A twice`,
		process(onLoopback + "program_env = [\"LISTEN_FDS=3\"]"):          `got LISTEN_FDS, which the server sets itself`,
		process(onLoopback + "program_env = [\"SALLYPORT_CLIENT=com1\"]"): `got SALLYPORT_CLIENT, which the server sets itself`,
		process(onLoopback + "program_env = [\"A=b\\u0000\"]"):            `got an entry (1) with a zero byte`,
		process(onLoopback + "max_memory = 4096"):                         `max_memory: expected a number of bytes, 0 (no limit) or at least 1048576, got 4096`,
		process(onLoopback + "max_files = 3"):                             `max_files: `,
		process(onLoopback + "max_processes = -1"):                        `max_processes: `,
		process(onLoopback + "on_close = [\"/bin/x\"]"):                   `c.toml:8: service 2: command_user: expected the name or number of the user that on_open and on_close run as, neither root nor the server's user, got nothing`,
		onWeb("on_open = [\"/bin/x\"]"):                                   `c.toml:4: service 1: command_user: `,
		onWeb("on_open = []\ncommand_user = \"nobody\""):                  `c.toml:8: service 1: on_open: expected the absolute path of a program and its arguments, such as ["/usr/local/bin/allow", "add"], got an empty list`,
		onWeb("on_close = []\ncommand_user = \"nobody\""):                 `c.toml:8: service 1: on_close: `,
		onWeb("on_close = [1]\ncommand_user = \"nobody\""):                `got 1 in the list`,
		onWeb("on_close = true"):                                          `c.toml:8: service 1: on_close: expected the absolute path of a program and its arguments, such as ["/usr/local/bin/allow", "del"]; or "keep" or "cut", as for connections, got true`,
		onWeb("on_close = \"cut\"\nconnections = \"cut\""):                `c.toml:9: service 1: connections: expected "keep" or "cut", got on_close = "cut" as well; only one of the two is allowed`,
		onWeb("connections = \"drop\""):                                   `c.toml:8: service 1: connections: expected "keep" or "cut", got "drop"`,
		onWeb("command_user = \"nobody\""):                                `c.toml:8: service 1: command_user: expected the name or number of the user that on_open and on_close run as, neither root nor the server's user, got it without on_open and on_close`,
		onWeb("command_limit = \"1s\""):                                   `got it without on_open and on_close`,
		onWeb("stop_after = \"1s\""):                                      `c.toml:8: service 1: stop_after: expected a duration from "100ms" to "5m", got it for a service without program, on_open and on_close`,
		onWeb("program = [\"/bin/x\"]"):                                   `got it for a service of type "web", which does not have this key`,
		hook(""):                                                          `c.toml:8: service 2: on_open: expected the absolute path of a program and its arguments, such as ["/usr/local/bin/allow", "add"], got nothing, and no on_close either`,
		hook(onOpen + "listen = \":81\""):                                 `got it for a service of type "command", which does not have this key`,
		hook(onOpen + "protocol = \"udp\""):                               `got it for a service of type "command", which does not have this key`,
		hook(onOpen + "open_to = \"anyone\""):                             `got it for a service of type "command", which does not have this key`,
		hook(onOpen + "connections = \"cut\""):                            `got it for a service of type "command", which does not have this key`,
		hook(onOpen + "on_close = \"cut\""):                               `got "cut" for a service without connections`,
		hook(onOpen + "command_limit = \"11m\""):                          `command_limit: expected a duration from "100ms" to "10m", got "11m"`,
		hook(onOpen) + "[challenge]\n[[operation]]\nid = \"ssh-alice\"\nsecret = \"x\"\nservice = \"hook\"\nport = \"random\"\n": `got "random" for service hook, which has no port`,
	} {
		_, err := Parse("c.toml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// TestPrograms: a configuration has the programs of all its services, in their order.
func TestPrograms(t *testing.T) {
	cfg, err := Parse("c.toml", []byte(minimal+onOpen+"on_close = [\"/bin/allow\", \"a b\"]\nconnections = \"keep\"\nstop_after = \"1s\"\n"+
		processText("upstream = \"inherit\"\nmax_memory = 1048576\nprogram_env = [\"A=1=2\", \"B=\"]\non_close = \"keep\"\n")+
		hookText("on_close = [\"/bin/del\"]\ncommand_user = \"1000\"\nprogram_dir = \"/srv\"\ncommand_limit = \"2s\"\n")))
	if err != nil {
		t.Fatal(err)
	}
	files := program.Limits{Files: 1024}
	want := []program.Program{
		{ID: program.ID{Service: "web", Role: program.OnOpen}, User: "nobody", Args: []string{"/bin/allow"}, Dir: "/", StopAfter: time.Second, TimeLimit: 10 * time.Second, Limits: files},
		{ID: program.ID{Service: "web", Role: program.OnClose}, User: "nobody", Args: []string{"/bin/allow", "a b"}, Dir: "/", StopAfter: time.Second, TimeLimit: 10 * time.Second, Limits: files},
		{ID: program.ID{Service: "site", Role: program.Server}, User: "www", Args: []string{"/bin/site"}, Dir: "/", Env: []string{"A=1=2", "B="}, StopAfter: 5 * time.Second,
			Limits: program.Limits{Memory: 1 << 20, Files: 1024}, Inherits: true},
		{ID: program.ID{Service: "hook", Role: program.OnClose}, User: "1000", Args: []string{"/bin/del"}, Dir: "/srv", StopAfter: 5 * time.Second, TimeLimit: 2 * time.Second, Limits: files},
	}
	if got := cfg.Programs(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i, cut := range []bool{false, false, false} {
		if cfg.Services[i].Policy.Cut != cut {
			t.Errorf("service %s: cut is %t", cfg.Services[i].Name, !cut)
		}
	}
	if p := cfg.Services[2].Program(program.OnOpen); p != nil {
		t.Errorf("a service without on_open has %+v", p)
	}
}

// TestServicesWithoutPort: nothing that concerns ports has a service of commands only,
// and the others keep their places.
func TestServicesWithoutPort(t *testing.T) {
	cfg, err := Parse("c.toml", []byte("stealth = true\n"+strings.Replace(minimal, "[[service]]", hookText(onOpen)+"[[service]]", 1)+serviceText("ssh", ":22", "firewall")))
	if err != nil {
		t.Fatal(err)
	}
	hook := &cfg.Services[0]
	if hook.HasPort() || hook.Port() != 0 || hook.Host().IsValid() || hook.Several() || hook.Ports() != nil || hook.At() != nil || hook.Addresses() != nil || hook.ProfileService() != "" || hook.Binds() {
		t.Errorf("a service of commands has a port: %+v", hook)
	}
	web, ssh := cfg.Services[1].ID(), cfg.Services[2].ID()
	if ports := cfg.Firewall().Ports; len(ports) != 2 || ports[0].Service != web || ports[1].Service != ssh {
		t.Errorf("the firewall guards %+v", ports)
	}
	if p := cfg.Policy(); len(p.Services) != 2 || p.Services[0].ID != web {
		t.Errorf("the holder's policy has %+v", p.Services)
	}
	if all := cfg.Carried(); len(all) != 1 || all[0] != ssh {
		t.Errorf("the kernel carries %v", all)
	}
	if all := cfg.CutByHelper(); len(all) != 1 || all[0] != ssh {
		t.Errorf("the holder cuts %v", all)
	}
	const want = "hook: commands, opens for 10s (further sequences extend it, to 1m at most); runs /bin/allow as nobody before it opens"
	if hook.Describe() != want {
		t.Errorf("got %q", hook.Describe())
	}
	// An error of the firewall names the service that it is about.
	twice := strings.Replace(minimal, "[[service]]", hookText(onOpen)+"[[service]]", 1) + serviceText("ssh", "127.0.0.2:8080", "firewall")
	if cfg, err = Parse("c.toml", []byte(twice)); err != nil {
		t.Fatal(err)
	}
	err = cfg.Check(Host{})
	if err == nil || !strings.HasPrefix(err.Error(), "c.toml:16: service 3: listen: ") || !strings.Contains(err.Error(), "service web guards it too") {
		t.Errorf("got %v", err)
	}
}

// TestChangedPrograms: no reload changes a program, because the runner has read the
// configuration once.
func TestChangedPrograms(t *testing.T) {
	old := minimal + processText(onLoopback+onOpen+"on_close = [\"/bin/allow\", \"del\"]\nprogram_env = [\"A=1\"]\n")
	for change, want := range map[string]string{
		`"/bin/site"|"/bin/site", "x"`:                            "program of service site",
		`"/bin/allow", "del"|"/bin/allow del"`:                    "on_close of service site",
		`on_open = ["/bin/allow"]|on_open = ["/bin/other"]`:       "on_open of service site",
		"on_close = [\"/bin/allow\", \"del\"]|on_close = \"cut\"": "on_close of service site",
		`"www"|"other"`:                                  "program_user of service site",
		`"nobody"|"other"`:                               "command_user of service site",
		`"A=1"|"A=2"`:                                    "program_env of service site",
		`127.0.0.1:9000|127.0.0.1:9001`:                  "upstream of service site",
		`127.0.0.1:9000|unix:/run/site`:                  "upstream of service site",
		"program_env|stop_after = \"6s\"\nprogram_env":   "stop_after of service site",
		"program_env|max_files = 99\nprogram_env":        "max_files of service site",
		"program_env|start_within = \"6s\"\nprogram_env": "start_within of service site",
		"program_env|proxy_protocol = true\nprogram_env": "",
		"program_env|open_for = \"9s\"\nprogram_env":     "",
	} {
		before, after, _ := strings.Cut(change, "|")
		changed := strings.Replace(old, before, after, 1)
		if changed == old {
			t.Fatalf("the text does not contain %q", before)
		}
		var both [2]*Config
		for i, text := range []string{old, changed} {
			var err error
			if both[i], err = Parse("c.toml", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		err := both[0].Changed(both[1], false)
		if (err != nil) != (want != "") || err != nil && err.Error() != "c.toml: "+want+" has changed, which requires a restart" {
			t.Errorf("%s: got %v, want %s", change, err, want)
		}
	}
}

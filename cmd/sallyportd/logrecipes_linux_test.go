package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// recipes is the directory of the files for programs that read the log.
const recipes = "../../container/"

// recipe returns such a file, with the paths of the log in a directory.
func recipe(t *testing.T, name, dir string) string {
	t.Helper()
	text, err := os.ReadFile(recipes + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "/var/log/sallyport", dir)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runTool runs a program, which must exit with 0.
func runTool(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// TestLogRecipes: a real server writes its log as JSON, of a client over its limit, a replay,
// and a revocation. rsyslog, fail2ban and CrowdSec read it with the files of container/.
func TestLogRecipes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rsyslogd", "fail2ban-regex", "crowdsec", "cscli"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
	}
	if !netns.Enter(t) {
		return
	}
	dir := t.TempDir()
	log := filepath.Join(dir, "sallyportd.json")
	denied := jsonLog(t, dir, log)
	t.Run("rsyslog", func(t *testing.T) { rsyslogReads(t, dir) })
	t.Run("fail2ban", func(t *testing.T) { fail2banReads(t, dir, log, denied) })
	t.Run("CrowdSec", func(t *testing.T) { crowdsecReads(t, dir, log) })
}

// jsonLog makes the log, and returns how many of its lines are about com0 over its limit.
func jsonLog(t *testing.T, dir, log string) (limited int) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "gate"), 0o700); err != nil {
		t.Fatal(err)
	}
	guests := makeGuests(t, filepath.Join(dir, "gate"))
	path := filepath.Join(dir, "gate", config.FileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "log_format = \"json\"\n"+string(text))
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("/proc/self/exe", "serve", "-c", path)
	cmd.Args[0], cmd.Stderr = "sallyportd", out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	read := func() string {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	netns.Until(t, "it serves", func() bool { return strings.Contains(read(), `"msg":"serving"`) }, read)
	a := guests[1].attempt(t)
	a.send(t, a.from)
	netns.Until(t, "com1 gets in", func() bool { return strings.Contains(read(), `"msg":"opened","service":"web","client":"com1"`) }, read)
	a.send(t, "127.0.0.77")
	netns.Until(t, "the replay is logged", func() bool {
		return strings.Contains(read(), `"client":"com1","address":"127.0.0.77","reason":"replay"`)
	}, read)
	line := regexp.MustCompile(`"msg":"knock denied","client":"com0","address":"[^"]*","reason":"rate_limited"`)
	netns.Until(t, "com0 is over its limit", func() bool {
		for range 10 {
			a := guests[0].attempt(t)
			a.send(t, a.from)
		}
		return len(line.FindAllString(read(), -1)) >= 5
	}, read)
	revoke := exec.Command("/proc/self/exe", "client", "revoke", "-c", path, "com2")
	revoke.Args[0] = "sallyportd"
	if out, err := revoke.CombinedOutput(); err != nil {
		t.Fatalf("client revoke: %v: %s", err, out)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
	for text := range strings.Lines(read()) {
		if !json.Valid([]byte(text)) {
			t.Errorf("not JSON: %s", text)
		}
	}
	return len(line.FindAllString(read(), -1))
}

func rsyslogReads(t *testing.T, dir string) {
	conf := filepath.Join(dir, "rsyslog.conf")
	write(t, conf, fmt.Sprintf("global(workDirectory=%q)\n", dir)+recipe(t, "rsyslog-sallyport.conf", dir))
	runTool(t, "rsyslogd", "-N1", "-f", conf)
	cmd := exec.Command("rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "rsyslog.pid"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	read := func() string {
		b, _ := os.ReadFile(filepath.Join(dir, "denied.log"))
		return string(b)
	}
	for _, want := range []string{
		`(?m)^\S+ INFO knock denied: service= client=com1 address=127\.0\.0\.77 reason=replay$`,
		`(?m)^\S+ INFO knock denied: service= client=com0 address=127\.\S+ reason=rate_limited$`,
		`(?m)^\S+ INFO client revoked: service= client=com2 `,
	} {
		netns.Until(t, want, func() bool { return regexp.MustCompile(want).MatchString(read()) }, read)
	}
	if strings.Contains(read(), "opened") {
		t.Errorf("it has other lines:\n%s", read())
	}
}

// fail2banReads runs the filter, and then a server with the jail, whose action a script
// takes in place of sallyportd.
func fail2banReads(t *testing.T, dir, log string, denied int) {
	filter := recipes + "fail2ban-sallyport-filter.conf"
	out := runTool(t, "fail2ban-regex", "--print-all-matched", log, filter)
	if !strings.Contains(out, fmt.Sprintf(" %d matched", denied)) || matchedReplay(out) {
		t.Errorf("expected %d lines:\n%s", denied, out)
	}
	etc := filepath.Join(dir, "fail2ban")
	runTool(t, "cp", "-r", "/etc/fail2ban", etc)
	jail := recipe(t, "fail2ban-sallyport-jail.conf", dir)
	for _, number := range []string{"maxretry = 30", "findtime = 10m"} {
		if !strings.Contains(jail, number) {
			t.Errorf("the jail lacks %q", number)
		}
	}
	write(t, filepath.Join(etc, "jail.d", "defaults-debian.conf"), "")
	write(t, filepath.Join(etc, "jail.d", "sallyport-clients.conf"), strings.Replace(jail, "maxretry = 30", "maxretry = 5", 1))
	write(t, filepath.Join(etc, "filter.d", "sallyport.conf"), recipe(t, "fail2ban-sallyport-filter.conf", dir))
	write(t, filepath.Join(etc, "action.d", "sallyport.conf"), recipe(t, "fail2ban-sallyport-action.conf", dir))
	write(t, filepath.Join(dir, "bin", "sallyportd"), "#!/bin/sh\necho \"$@\" >>"+filepath.Join(dir, "banned")+"\n")
	os.Chmod(filepath.Join(dir, "bin", "sallyportd"), 0o755)
	cmd := exec.Command("fail2ban-server", "-xf", "-c", etc, "-s", filepath.Join(dir, "f2b.sock"), "-p", filepath.Join(dir, "f2b.pid"),
		"--logtarget", filepath.Join(dir, "f2b.log"), "start")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	write(t, filepath.Join(etc, "fail2ban.local"), "[Definition]\ndbfile = None\n")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}()
	read := func() string {
		b, _ := os.ReadFile(filepath.Join(dir, "banned"))
		l, _ := os.ReadFile(filepath.Join(dir, "f2b.log"))
		return string(b) + string(l)
	}
	netns.Until(t, "the client is banned", func() bool {
		return strings.Contains(read(), "client expire -c /etc/sallyport/sallyportd.toml com0 now")
	}, read)
	if strings.Contains(read(), "com1") {
		t.Errorf("a replay bans its client:\n%s", read())
	}
}

// matchedReplay reports whether a replay is among the matched lines of fail2ban-regex.
func matchedReplay(out string) bool {
	_, matched, _ := strings.Cut(out, "Matched line(s):")
	matched, _, _ = strings.Cut(matched, "`-")
	return strings.Contains(matched, `"reason":"replay"`)
}

func crowdsecReads(t *testing.T, dir, log string) {
	share := "/usr/local/share/crowdsec"
	hub, patterns := share+"/hub", share+"/patterns"
	if _, err := os.Stat(hub); err != nil {
		hub, patterns = "/usr/share/crowdsec/hub", "/etc/crowdsec/patterns"
	}
	etc := filepath.Join(dir, "crowdsec")
	for _, name := range []string{"s00-raw/crowdsecurity/syslog-logs.yaml", "s02-enrich/crowdsecurity/dateparse-enrich.yaml"} {
		to := filepath.Join(etc, "parsers", filepath.Dir(filepath.Dir(name)))
		runTool(t, "mkdir", "-p", to)
		runTool(t, "cp", hub+"/parsers/"+name, to)
	}
	runTool(t, "cp", "-r", patterns, etc)
	write(t, filepath.Join(etc, "parsers/s01-parse/sallyport.yaml"), recipe(t, "crowdsec-sallyport-parser.yaml", dir))
	write(t, filepath.Join(etc, "scenarios/sallyport.yaml"), recipe(t, "crowdsec-sallyport-scenario.yaml", dir))
	write(t, filepath.Join(etc, "hub/.index.json"), `{"parsers":{},"scenarios":{},"collections":{},"postoverflows":{}}`)
	write(t, filepath.Join(etc, "simulation.yaml"), "simulation: false\n")
	write(t, filepath.Join(etc, "profiles.yaml"), "name: clients\nfilters: ['Alert.GetScope() == \"SallyportClient\"']\ndecisions: [{type: ban, duration: 1h}]\non_success: break\n")
	write(t, filepath.Join(etc, "data/empty"), "")
	acquis := recipe(t, "crowdsec-sallyport-acquis.yaml", dir)
	if !strings.Contains(acquis, log) || !strings.Contains(acquis, "type: sallyportd") {
		t.Errorf("the acquisition: %s", acquis)
	}
	conf, credentials := filepath.Join(etc, "config.yaml"), filepath.Join(etc, "credentials.yaml")
	write(t, conf, strings.ReplaceAll(`common: {daemonize: false, log_media: stdout, log_level: info, working_dir: .}
config_paths: {config_dir: ETC, data_dir: ETC/data, simulation_path: ETC/simulation.yaml, hub_dir: ETC/hub, index_path: ETC/hub/.index.json, notification_dir: ETC, plugin_dir: ETC}
crowdsec_service: {parser_routines: 1}
db_config: {type: sqlite, db_path: ETC/data/crowdsec.db, use_wal: false}
api:
  client: {credentials_path: ETC/credentials.yaml}
  server: {listen_uri: "127.0.0.1:18080", profiles_path: ETC/profiles.yaml}
prometheus: {enabled: false}
`, "ETC", etc))
	write(t, credentials, "url: http://127.0.0.1:18080/\nlogin: test\npassword: test1234\n")
	runTool(t, "cscli", "-c", conf, "machines", "add", "test", "--password", "test1234", "-f", credentials, "-u", "http://127.0.0.1:18080/", "--force")
	out := runTool(t, "timeout", "120", "crowdsec", "-c", conf, "-dsn", "file://"+log, "-type", "sallyportd")
	if !strings.Contains(out, "local/sallyport-rate-limited by SallyportClient com0 : 1h ban on SallyportClient com0") || strings.Contains(out, "SallyportClient com1") {
		t.Errorf("the client is not found:\n%s", out)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/fleet/etcdtest"
)

// observedWorld is a Prometheus that reads the metrics of two servers, which have
// everything that the dashboard and the alerts query.
//
//	this namespace                            the clients' and the attacker's
//	a  192.0.2.1: shield              <->     192.0.2.2 to .60
//	b  198.51.100.1: firewall, fleet, <->     198.51.100.2
//	   exchanges, UDP, proofs
//	127.0.0.1: etcd, Prometheus, and the metrics of both
type observedWorld struct {
	shield *shieldWorld
	guests []*guest // of b
	a, b   *victim
	etcd   *etcdtest.Cluster
	api    string // the URL of Prometheus
}

const (
	scrapeInterval = 500 * time.Millisecond
	prometheusAt   = "127.0.0.1:9090"
	metricsOfA     = "127.0.0.1:9464"
	metricsOfB     = "127.0.0.1:9465"
)

// observedKeys is what the configuration of b has after those of all servers.
const observedKeys = `[[service]]
name = "web"
type = "web"
listen = "198.51.100.1:8080"
[[service]]
name = "brief"
type = "web"
listen = "198.51.100.1:8081"
open_for = "1s"
open_max = "1s"
[[service]]
name = "names"
type = "proxy"
protocol = "udp"
listen = "198.51.100.1:5300"
upstream = "127.0.0.1:5301"
[[service]]
name = "shell"
type = "firewall"
listen = ":2222"
[[service]]
name = "proved"
type = "proxy"
listen = "198.51.100.1:8443"
upstream = "127.0.0.1:2223"
bind = "connection"
[challenge]
[[challenge.http]]
listen = "198.51.100.1:8088"
host = "www.example.org"
[[operation]]
id = "open-web"
secret_file = "operation.secret"
service = "web"
`

func newObservedWorld(t *testing.T) *observedWorld {
	t.Helper()
	w := &observedWorld{shield: newShieldWorld(t), etcd: etcdtest.Start(t, etcdtest.Options{}), api: "http://" + prometheusAt}
	netns.Connect(t, netns.End{Name: "net", Addresses: []string{server4 + "/24"}}, w.shield.there, netns.End{Name: "far", Addresses: []string{"198.51.100.2/24"}})
	w.shield.edit(t, "sallyportd.toml", "[[service]]", fmt.Sprintf("listen = [%q]\nmetrics_listen = %q\n[[service]]", shieldHost, metricsOfA))
	w.shield.edit(t, "sallyportd.toml", `":8080"`, `"`+shieldHost+`:8080"`)
	dir := t.TempDir()
	w.guests = makeGuestsOf(t, dir, server4)
	cfg := fmt.Sprintf("ports = 2\nlisten = [%q]\nmetrics_listen = %q\nport_secret_file = \"port_secret\"\nclients = \"clients.txt\"\n%s[fleet]\nname = \"b\"\nendpoints = [%q]\n",
		server4, metricsOfB, observedKeys, w.etcd.Gateway(t).Endpoints()[0])
	for name, text := range map[string]string{"sallyportd.toml": cfg, "operation.secret": "a secret of many bits 8b1f0c6e2d\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.a = startProgram(t, "/proc/self/exe", w.shield.dir)
	w.b = startProgram(t, "/proc/self/exe", dir)
	for _, v := range []*victim{w.a, w.b} {
		t.Cleanup(func() {
			v.cmd.Process.Kill()
			if t.Failed() {
				t.Log(v.log())
			}
		})
	}
	w.startPrometheus(t)
	return w
}

// startPrometheus starts a Prometheus with the alerts of container/, in fast motion: each
// duration of a minute is a second.
func (w *observedWorld) startPrometheus(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	cfg := fmt.Sprintf(`global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: sallyport
    static_configs:
      - targets: [%[2]q, %[3]q]
`, scrapeInterval, metricsOfA, metricsOfB)
	alerts := inSeconds(read(t, filepath.Join(containerDir, "alerts.yaml")))
	for name, text := range map[string]string{"prometheus.yml": cfg, "alerts.yaml": alerts} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	run := exec.Command("prometheus", "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", prometheusAt)
	run.Stderr = log
	if err := startBound(run); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		run.Process.Kill()
		run.Wait()
		if t.Failed() {
			t.Log(read(t, log.Name()))
		}
	})
	netns.Until(t, "Prometheus is ready", func() bool {
		answer, err := http.Get(w.api + "/-/ready")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// series is a time series in an answer of Prometheus.
type series struct {
	Metric map[string]string
	Values [][2]any // time, and the value as text
}

// moves reports whether a value is another one than 0: not a number is none.
func (s series) moves() bool {
	for _, v := range s.Values {
		if text := v[1]; text != "0" && text != "NaN" {
			return true
		}
	}
	return false
}

// ask sends a request to the API of Prometheus, and stores the data of the answer.
func (w *observedWorld) ask(t *testing.T, path string, keys url.Values, data any) {
	t.Helper()
	response, err := http.Get(w.api + "/api/v1/" + path + "?" + keys.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s %v: %v, %s %s", path, keys, err, answer.Status, answer.Error)
	}
}

// query evaluates an expression for each second of the time since the start of the servers.
func (w *observedWorld) query(t *testing.T, expression string, since time.Time) []series {
	t.Helper()
	var data struct{ Result []series }
	w.ask(t, "query_range", url.Values{
		"query": {expression}, "step": {"1"}, "start": {stamp(since)}, "end": {stamp(time.Now())},
	}, &data)
	return data.Result
}

func stamp(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }

// alert is an alert of Prometheus's rules.
type alert struct {
	Name, State, Health, LastError, Type string
}

func (w *observedWorld) alerts(t *testing.T) (all map[string]alert) {
	t.Helper()
	var data struct{ Groups []struct{ Rules []alert } }
	w.ask(t, "rules", nil, &data)
	all = map[string]alert{}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			all[r.Name] = r
		}
	}
	return all
}

// visit is what honest clients and strangers do at b: a client gets in, keeps a connection
// and a UDP flow, and a stranger sends an empty packet, a request, and a connection without
// a proof.
func (w *observedWorld) visit(t *testing.T) {
	t.Helper()
	const from = "198.51.100.2"
	looks := 0
	knock := func() { // again after two seconds: in a flood, some knocks are lost
		if looks%200 == 0 {
			w.shield.send(t, from, server4, w.guests[0].attempt(t).packets)
		}
		looks++
	}
	netns.Until(t, "b opens", func() bool {
		knock()
		return w.b.has(from)
	}, w.b.log)
	for _, row := range []struct{ network, port, text string }{
		{"tcp", "8080", ""}, {"udp", "5300", "hello"}, {"udp", "20000", ""},
		{"tcp", "8443", "GET / HTTP/1.0\r\n\r\n"}, {"tcp", "8088", "GET / HTTP/1.0\r\n\r\n"},
	} {
		var c net.Conn
		netns.Until(t, row.network+" to the port "+row.port, func() bool {
			knock()
			err := w.shield.there.Do(func() (err error) {
				c, err = net.DialTimeout(row.network, net.JoinHostPort(server4, row.port), 10*time.Second)
				return err
			})
			return err == nil
		}, w.b.log)
		t.Cleanup(func() { c.Close() })
		if _, err := c.Write([]byte(row.text)); err != nil {
			t.Fatal(err)
		}
	}
}

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The variables that set other numbers than those of a short run.
const (
	killsVariable    = "SALLYPORT_TEST_KILLS"
	openingsVariable = "SALLYPORT_TEST_OPENINGS"
)

// number returns the value of a variable, or the default.
func number(variable string, byDefault int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return byDefault
}

// programServices are a process and a command, with leases that only an order ends.
func programServices(n *network, misbehave string, commands int) string {
	var text strings.Builder
	fmt.Fprintf(&text, `[[service]]
name = "site"
type = "process"
listen = ":8001"
program = [%q, "-listen", "127.0.0.1:9001", "-children", "2", "-ignore-term"]
program_user = %q
upstream = "127.0.0.1:9001"
start_within = "1m"
stop_after = "200ms"
open_for = "10m"
`, misbehave, programUser)
	for i := range commands {
		fmt.Fprintf(&text, `[[service]]
name = "command%[1]d"
type = "command"
on_open = [%[2]q, "-record", "%[3]s/record%[1]d", "-children", "1"]
on_close = [%[2]q, "-record", "%[3]s/record%[1]d"]
command_user = %[4]q
command_limit = "1m"
stop_after = "200ms"
open_for = "10m"
`, i, misbehave, n.path("made"), commandUser)
	}
	return text.String()
}

// helpers returns the processes of the server's program of a user ("": of all users)
// that are started for programs: runners, or supervisors.
func (n *network) helpers(name, user string) (list []process) {
	n.t.Helper()
	for _, p := range n.running(name) {
		if user == "" || p.user == user {
			list = append(list, p)
		}
	}
	return list
}

const (
	runner     = "program-helper"
	supervisor = "program-supervisor"
	holder     = "firewall-helper"
)

// TestProgramsKilled kills the server, a runner, a supervisor, a program or the holder of
// the firewall at random moments after a knock. Nothing of the programs survives its parents, nothing is open
// without a server, and the next start runs the closing commands that are left.
func TestProgramsKilled(t *testing.T) {
	long(t)
	misbehave, ok := enterPrograms(t)
	if !ok {
		return
	}
	n := newProgramNetwork(t, func(n *network) string {
		return endWithServer + programServices(n, misbehave, 1) + "[[service]]\nname = \"hidden\"\ntype = \"firewall\"\nlisten = \":8002\"\nopen_for = \"10m\"\n"
	}, "alice")
	const site = asClient + ":8001"
	victims := []string{"server", "runner of the process", "runner of commands", "supervisor", "program", "holder"}
	rounds := number(killsVariable, len(victims))
	kills := map[string]int{}
	for i := range rounds {
		n.serve()
		n.run(n.client, n.path("sallyport"), "knock", n.path("alice.toml"), "--watch", "none")
		if i == 0 { // one lease at least has begun for certain
			n.await("the opening command", func() bool { return len(n.records("record0")) > 0 })
		}
		time.Sleep(rand.N(300 * time.Millisecond))
		what := victims[i%len(victims)]
		var killed []process
		switch what {
		case "server":
			killed = []process{{pid: n.server.Process.Pid}}
		case "runner of the process":
			killed = n.helpers(runner, programUser)
		case "runner of commands":
			killed = n.helpers(runner, commandUser)
		case "supervisor":
			killed = n.helpers(supervisor, "")
		case "program":
			killed = n.running(misbehave)
		case "holder":
			killed = n.helpers(holder, "")
		}
		for _, p := range killed {
			if err := kill(p.pid); err != nil {
				t.Fatal(err)
			}
			kills[what]++
		}
		switch what {
		case "server", "holder": // the server ends with its holder
			n.server.Wait()
			n.server = nil
			n.await("the end of all processes after the server", func() bool { return len(n.processes()) == 0 })
			if n.reaches(n.client, site) || n.reaches(n.client, asClient+":9001") {
				t.Fatal("open without a server")
			}
			continue
		case "runner of the process":
			n.await("the end of the programs after their runner", func() bool { return len(n.running("127.0.0.1:9001")) == 0 })
			n.await("the report", func() bool { return n.logged("runner lost; its services stay closed\" user="+programUser+" ") > 0 })
			if n.reaches(n.client, site) {
				t.Fatal("open without a runner")
			}
		case "runner of commands":
			n.await("the report", func() bool { return n.logged("runner lost; its services stay closed\" user="+commandUser+" ") > 0 })
		}
		if n.reaches(n.stranger, asStranger+":8001") {
			t.Fatalf("a stranger reaches the service after the end of the %s", what)
		}
		if err := n.stop(); err != nil {
			t.Errorf("%s: stopped with %v", what, err)
		}
		n.await("the end of all processes", func() bool { return len(n.processes()) == 0 })
	}
	n.serve()
	n.await("the closing commands that are left", func() bool {
		list := n.records("record0")
		return len(list) > 0 && list[len(list)-1].value("EVENT") == "close"
	})
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	opens, crashes := 0, 0
	before := ""
	for i, r := range n.records("record0") {
		event := r.value("EVENT")
		if event == "open" && before == "open" {
			t.Errorf("line %d: a lease began, and the one before has not ended", i)
		}
		if event == "open" {
			opens++
		} else if r.value("REASON") == "crash" {
			crashes++
		}
		before = event
	}
	t.Logf("%d rounds, %v killed, %d leases, %d closing commands after a crash", rounds, kills, opens, crashes)
	if kills["server"] == 0 || kills["runner of the process"] == 0 || kills["runner of commands"] == 0 || kills["holder"] == 0 || opens == 0 {
		t.Error("too little was killed, or opened")
	}
}

// TestManyOpenings: after many openings, no process is left, none was not reaped, and
// server and runners have no more descriptors than after the first ones.
func TestManyOpenings(t *testing.T) {
	long(t)
	misbehave, ok := enterPrograms(t)
	if !ok {
		return
	}
	const commands = 9
	n := newProgramNetwork(t, func(n *network) string { return programServices(n, misbehave, commands) }, "alice")
	n.serve()
	openings := number(openingsVariable, 2*(commands+1))
	base := map[int]int{}
	for done := 0; done < openings; done += commands + 1 {
		opened, closed := n.counted("msg=opened "), n.counted("msg=closed ")
		n.run(n.client, n.path("sallyport"), "knock", n.path("alice.toml"), "--watch", "none")
		n.await("all services to open", func() bool { return n.logged("msg=opened ") >= opened+commands+1 })
		n.run(nil, n.path("sallyportd"), "lease", "close", "-c", n.path("gate/sallyportd.toml"), "--all")
		n.await("all services to close", func() bool { return n.logged("msg=closed ") >= closed+commands+1 })
		var left []process
		n.await("the end of programs and commands", func() bool {
			left = n.processes()
			return len(left) == 3 // the server, and a runner for each user
		})
		for _, p := range left {
			open := func() int {
				entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
				if err != nil {
					t.Fatal(err)
				}
				return len(entries)
			}
			if done == 0 {
				base[p.pid] = open()
				continue
			}
			// For a moment it may have further ones, such as a file that it writes.
			n.await(fmt.Sprintf("as many descriptors of %q as after the first openings, %d", p.args, base[p.pid]), func() bool {
				return open() <= base[p.pid]+3
			})
		}
	}
	for i := range commands {
		events := map[string]int{}
		for _, r := range n.records(fmt.Sprintf("record%d", i)) {
			events[r.value("EVENT")]++
		}
		if events["open"] != openings/(commands+1) || events["close"] != events["open"] {
			t.Errorf("command%d ran as %v", i, events)
		}
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
}

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
)

// writeStatus prints a status for people.
func writeStatus(env cli.Env, st admin.Status) error {
	out := env.Out()
	if err := out.Columns().Print(statusFacts(env, st)...); err != nil {
		return err
	}
	for _, table := range [][][]output.Cell{statusServices(st), statusRefusals(st), statusQueues(st)} {
		if len(table) < 2 {
			continue
		}
		if err := out.Printf("\n"); err != nil {
			return err
		}
		if err := out.Columns().Print(table...); err != nil {
			return err
		}
	}
	return nil
}

// fact is a row with a name, and yellow if something needs attention.
func fact(name, text string, attention bool) []output.Cell {
	colour := output.Plain
	if attention {
		colour = output.Yellow
	}
	return []output.Cell{{Text: name, Colour: output.Bold}, {Text: text, Colour: colour}}
}

// statusFacts returns the part about the server as a whole.
func statusFacts(env cli.Env, st admin.Status) [][]output.Cell {
	up := (time.Duration(st.Uptime) * time.Second).String()
	state := "ready"
	if !st.Ready {
		state = "starting: knocks are not accepted yet"
	} else if st.Reloading {
		state = "ready; a change is in progress"
	}
	rows := [][]output.Cell{
		fact("server", fmt.Sprintf("%s, process %d, %s", st.Release, st.PID, state), !st.Ready),
		fact("running", fmt.Sprintf("for %s, since %s", up, env.Time(st.Started)), false),
		fact("configuration", st.Config, false),
		clockFact(st.Clock),
		fact("knock ports", fmt.Sprintf("%d open, %d failed", st.Ports.Open, st.Ports.Failed), st.Ports.Failed > 0 || st.Ports.Open == 0),
		fact("tiers", tiersText(st), false),
	}
	if st.Shield != nil {
		rows = append(rows, fact("shield", shieldText(st.Shield), !st.Shield.On))
	}
	rows = append(rows, fact("clients", strconv.Itoa(st.Clients), st.Clients == 0))
	for name, why := range st.Carriers {
		rows = append(rows, fact("not bound", name+": "+why, true))
	}
	rows = append(rows, fact("knock to open", latencyText(st.Latency), false))
	size := "unknown size"
	if st.State.Bytes >= 0 {
		size = fmt.Sprintf("%d KiB", (st.State.Bytes+1023)/1024)
	}
	rows = append(rows, fact("state file", fmt.Sprintf("%s, %s, %s, %d failed", st.State.Path, size, plural(int(st.State.Writes), "write", "writes"), st.State.Failures), st.State.Failures > 0))
	rows = append(rows, selfTestFact(env, st.SelfTest)...)
	if h := st.Holder; h != nil {
		text := "lost: nothing can be opened"
		switch {
		case h.Connected && h.Silent:
			text = "silent: nothing opens until it continues"
		case h.Connected:
			text = "connected"
		}
		rows = append(rows, fact("holder", text+", "+count(int(h.Restarts), "restart"), !h.Connected || h.Silent))
	}
	rows = append(rows, sandboxFacts(st)...)
	if st.TrialUnknown != "" {
		rows = append(rows, fact("trial", "not known, one may run: "+st.TrialUnknown, true))
	}
	if len(st.RunnersLost) > 0 {
		rows = append(rows, fact("runners", "lost: "+strings.Join(st.RunnersLost, ", ")+"; the programs of these users start again with the server", true))
	}
	for _, t := range st.Trial {
		text := t.Service + ", over and not confirmed: open to anyone"
		if t.Until != nil {
			text = fmt.Sprintf("%s, open to anyone from %s on, unless confirmed", t.Service, env.Time(*t.Until))
		}
		rows = append(rows, fact("trial", text, true))
	}
	if f := st.Fleet; f != nil {
		text := f.Name + ", etcd answers"
		if !f.Available {
			text = f.Name + ", etcd does not answer, so no knock opens: " + f.Error
		}
		rows = append(rows, fact("fleet", text, !f.Available))
		if l := f.List; l != nil {
			text := fmt.Sprintf("version %d", l.Version)
			if l.Refused != "" {
				text += "; the list in etcd is refused: " + l.Refused
			}
			rows = append(rows, fact("list of clients", text, l.Refused != ""))
		}
	}
	return rows
}

// selfTestFact returns the row about the self-test; none if it is off.
func selfTestFact(env cli.Env, s *admin.SelfTest) [][]output.Cell {
	switch {
	case s == nil:
		return nil
	case s.At == nil:
		return [][]output.Cell{fact("self-test", "none has ended yet", false)}
	case s.Result == "passed":
		return [][]output.Cell{fact("self-test", fmt.Sprintf("passed at %s, in %s", env.Time(*s.At), seconds(s.Took).Round(time.Millisecond)), false)}
	}
	text := fmt.Sprintf("%s at %s: %s", s.Result, env.Time(*s.At), s.Reason)
	if s.Missed > 1 {
		text += fmt.Sprintf(" (%d misses in a row)", s.Missed)
	}
	return [][]output.Cell{fact("self-test", text, true)}
}

func clockFact(c admin.Clock) []output.Cell {
	steps := count(int(c.Steps), "step")
	if c.Steps > 0 {
		steps += ", the last by " + seconds(c.LastStep).String()
	}
	return fact("clock", clockText(c)+", "+steps, c.Synchronised != nil && !*c.Synchronised)
}

// tierLevels are the levels for people.
var tierLevels = map[string]string{"none": "ports only", "shape": "all rules except unknown clients", "clients": "all rules"}

func tiersText(st admin.Status) string {
	var tiers []string
	for _, t := range st.Tiers {
		level := tierLevels[t.Level]
		if t.Name == "socket_filter" && t.Level == "none" {
			level = "off"
		}
		tiers = append(tiers, t.Name+": "+level)
	}
	return strings.Join(tiers, "; ")
}

func shieldText(s *admin.Shield) string {
	if !s.On {
		return "off: " + s.Error
	}
	var at []string
	for _, i := range s.Interfaces {
		if i.Mode != "" {
			at = append(at, i.Name+" ("+i.Mode+")")
		} else {
			at = append(at, i.Name+" not attached: "+i.Error)
		}
	}
	return "on, " + strings.Join(at, ", ")
}

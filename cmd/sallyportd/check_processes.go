package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/sandbox"
)

// effectiveProcesses are the processes of the running server.
type effectiveProcesses struct {
	all    []sandbox.Process
	server sandbox.Report // of the server itself
	holder *admin.Holder
	silent error // why they are not known; nil: they are, or no server runs
}

func runningProcesses(ctx context.Context, socket string) (p effectiveProcesses) {
	st, err := admin.Conn{Socket: socket}.Status(ctx)
	if unreachable := (*admin.UnreachableError)(nil); errors.As(err, &unreachable) && unreachable.Stopped() {
		return p
	}
	if err == nil {
		p.holder = st.Holder
		p.all, err = sandbox.Processes(st.PID)
	}
	if err == nil {
		p.add(st.Sandbox)
	}
	p.silent = err
	return p
}

// commands are the first words of the processes that report.
var commands = map[string]string{"server": "serve", "capturer": capturerName, "holder": helperName}

func reportOf(r admin.Sandbox) sandbox.Report {
	return sandbox.Report{
		Process: r.Process, NoNewPrivs: r.NoNewPrivs, Seccomp: r.Seccomp, Landlock: r.Landlock,
		Files: (*sandbox.Allowed)(r.Files),
	}
}

// add adds what the processes report. A holder that is no child of the server is not among
// those of /proc.
func (p *effectiveProcesses) add(reports []admin.Sandbox) {
	for _, shown := range reports {
		r := reportOf(shown)
		if r.Process == "server" {
			p.server = r
		}
		at := slices.IndexFunc(p.all, func(is sandbox.Process) bool { return is.Command == commands[r.Process] })
		if at < 0 {
			at = len(p.all)
			p.all = append(p.all, sandbox.Process{Command: "firewall hold", NoNewPrivs: r.NoNewPrivs, Seccomp: r.Seccomp})
		}
		p.all[at].Landlock = r.Landlock
	}
}

// check warns if the running server cannot reload a configuration, and if its holder does
// not answer it.
func (p effectiveProcesses) check(cfg *config.Config) (found []finding) {
	if h := p.holder; h != nil && h.Connected && h.Silent {
		found = append(found, warn("holder-silent", "if it does not continue, restart it: \"systemctl restart sallyportd-firewall\", or the server that has started it",
			"the holder of the firewall does not answer the server: nothing opens until it continues; leases in force stay"))
	}
	err := p.server.Admits(cfg.Files())
	if err == nil {
		return found
	}
	var hinted interface{ Hint() string }
	errors.As(err, &hinted)
	return append(found, warn("outside-sandbox", hinted.Hint(), "a reload of the running server fails: %v", err))
}

// line returns the processes for people; empty: no server runs.
func (p effectiveProcesses) line() string {
	if p.silent != nil {
		return "those of the running server are not known: " + p.silent.Error()
	}
	var texts []string
	for _, process := range p.all {
		texts = append(texts, process.String())
	}
	return strings.Join(texts, "; ")
}

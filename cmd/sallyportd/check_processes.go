package main

import (
	"context"
	"errors"
	"strings"

	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/sandbox"
)

// effectiveProcesses are the processes of the running server.
type effectiveProcesses struct {
	all    []sandbox.Process
	silent error // why they are not known; nil: they are, or no server runs
}

func runningProcesses(ctx context.Context, socket string) (p effectiveProcesses) {
	st, err := admin.Conn{Socket: socket}.Status(ctx)
	if unreachable := (*admin.UnreachableError)(nil); errors.As(err, &unreachable) && unreachable.Stopped() {
		return p
	}
	if err == nil {
		p.all, err = sandbox.Processes(st.PID)
	}
	p.silent = err
	return p
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

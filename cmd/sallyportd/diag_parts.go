package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/diag"
	"sallyport/sessions/durable"
	"sallyport/sessions/gate/firewall"
)

// diagParts collects the parts of the archive, each as far as it can, and gives the
// scrubber what must not be in them.
func diagParts(ctx context.Context, env cli.Env, path string, timeout time.Duration, scrubber *diag.Scrubber) []diag.Part {
	parts := []diag.Part{
		{Name: "version.txt", About: "the program, and the modules that it was built from", Text: versionText(), Fixed: true},
		diagConfiguration(path, scrubber),
	}
	add := func(name, about string, text string, err error) {
		parts = append(parts, diag.Part{Name: name, About: about, Text: text, Err: err})
	}
	fixed := func(name, about string, text string, err error) {
		parts = append(parts, diag.Part{Name: name, About: about, Text: text, Err: err, Fixed: true})
	}
	text, err := checkText(ctx, env, path)
	add("check.txt", "the findings of \"sallyportd check\"", text, err)
	cfg, err := loadOrLocate(path, func(string) {})
	pid := 0
	if err == nil {
		for name := range learnClients(scrubber, cfg.ClientsPath) {
			scrubber.Name("client", name)
		}
		parts, pid = diagServer(ctx, cfg, timeout, parts)
	} else {
		add("status.json", "what the server does", "", fmt.Errorf("the configuration does not lead to the server: %w", err))
	}
	text, err = diag.Host()
	fixed("kernel.txt", "the kernel, sysctls and modules", text, err)
	text, err = diag.Process(os.Getpid())
	fixed("command.txt", "the rights of this command, as a process", text, err)
	text, err = diag.Rules(firewall.Name)
	fixed("nftables.txt", "our table of nftables, with counters; of sets, the number of elements", text, err)
	if pid > 0 {
		text, err = diag.Process(pid)
		fixed("server.txt", "the server as a process: rights, limits, descriptors", text, err)
	}
	return parts
}

// versionText describes the program.
func versionText() string {
	var out strings.Builder
	fmt.Fprintf(&out, "sallyportd %s, %s, %s/%s, %d processors\n", cli.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out.String()
	}
	for _, s := range info.Settings {
		// The flags of a build may name directories of its user.
		if strings.HasPrefix(s.Key, "vcs") || strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" || s.Key == "-race" || s.Key == "-tags" {
			fmt.Fprintf(&out, "build %s=%s\n", s.Key, s.Value)
		}
	}
	for _, m := range info.Deps {
		fmt.Fprintf(&out, "module %s %s\n", m.Path, m.Version)
	}
	return out.String()
}

// diagConfiguration redacts the configuration.
func diagConfiguration(path string, scrubber *diag.Scrubber) diag.Part {
	p := diag.Part{Name: "configuration.toml", About: "the configuration, with the values that are certainly no secrets"}
	text, err := durable.ReadFile(path)
	if err != nil {
		p.Err = err
		return p
	}
	redacted, err := config.Redact(path, text)
	p.Text, p.Err = string(redacted.Text), err
	if err != nil {
		learnText(scrubber, string(text))
	}
	learnRedacted(scrubber, redacted)
	return p
}

// checkText returns the findings of "check". An invalid configuration is a finding.
func checkText(ctx context.Context, env cli.Env, path string) (string, error) {
	var out strings.Builder
	all, _, err := runCheck(ctx, env, path, func(effective) error { return nil })
	for _, f := range all {
		fmt.Fprintf(&out, "%s %s: %s\n", f.Severity, f.Code, f.Text)
		if f.Hint != "" {
			fmt.Fprintf(&out, "  hint: %s\n", f.Hint)
		}
	}
	if err != nil {
		f := cli.Explain(err)
		fmt.Fprintf(&out, "error: %s\n", f.Error)
		if f.Hint != "" {
			fmt.Fprintf(&out, "  hint: %s\n", f.Hint)
		}
		return out.String(), nil
	}
	fmt.Fprintf(&out, "valid, %s\n", count(len(all), "finding"))
	return out.String(), nil
}

// diagServer asks the server, and returns its process too; 0: it is not known. If one
// request finds no server, the others do not wait for it.
func diagServer(ctx context.Context, cfg *config.Config, timeout time.Duration, parts []diag.Part) ([]diag.Part, int) {
	pid := 0
	var gone error
	for _, ask := range []struct {
		name, about string
		ask         func(context.Context, admin.Conn) (any, error)
	}{
		{"status.json", "what the server does, with all counters", func(ctx context.Context, c admin.Conn) (any, error) {
			st, err := c.Status(ctx)
			pid = st.PID
			return st, err
		}},
		{"metrics.txt", "the metrics", func(ctx context.Context, c admin.Conn) (any, error) {
			text, err := c.Metrics(ctx)
			return string(text), err
		}},
		{"history.json", "refusals in each minute of the last hour, and leases that ended", func(ctx context.Context, c admin.Conn) (any, error) { return c.History(ctx) }},
		{"leases.json", "the leases", func(ctx context.Context, c admin.Conn) (any, error) { return c.Leases(ctx) }},
		{"waiting.json", "services that stay closed, and why", func(ctx context.Context, c admin.Conn) (any, error) { return c.Waiting(ctx) }},
		{"log.txt", "the last lines of the server's log", func(ctx context.Context, c admin.Conn) (any, error) {
			tail, err := c.Log(ctx)
			return strings.Join(append(tail.Lines, ""), "\n"), err
		}},
	} {
		p := diag.Part{Name: ask.name, About: ask.about, Err: gone, Fixed: ask.name == "metrics.txt"}
		if gone == nil {
			var answer any
			p.Err = asked(ctx, cfg, timeout, func(ctx context.Context, c admin.Conn) (err error) {
				answer, err = ask.ask(ctx, c)
				return err
			})
			switch v, isText := answer.(string); {
			case p.Err != nil && ask.name == "status.json":
				gone = p.Err
			case p.Err != nil:
			case isText:
				p.Text = v
			default:
				text, err := json.MarshalIndent(answer, "", " ")
				p.Text, p.Err = string(text)+"\n", err
			}
		}
		parts = append(parts, p)
	}
	return parts, pid
}

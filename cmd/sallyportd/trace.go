package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/durations"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// defaultTrace is how long a trace runs without --for.
const defaultTrace = 2 * time.Minute

func traceCommand(env cli.Env) *cobra.Command {
	var path, lasts string
	var asJSON bool
	c := &cobra.Command{
		Use:        "trace IDENTIFIER",
		SuggestFor: []string{"explain", "debug", "why"},
		Short:      "Explain why the knocks of a client are refused, as they arrive",
		Long: `Explain why the knocks of a client are refused, as they arrive: start the trace, and
then let the client knock. IDENTIFIER is that of the client, or the ID of an operation of
the challenge–response protocol. A trace of a client has its operations too.

SIGNED is "yes" if only a holder of a secret of the client can have caused the line, or
a host that has read what the client sent, and sends it again. With "no", any host can
have caused it, because identifiers are public.

The trace ends by itself. Meanwhile the filters of the kernel pass all datagrams with the
identifier, and more UDP ports are open, at which nothing is accepted: a client whose
clock is wrong sends there. The server decides about knocks as always, and answers
nothing. Of each reason there are at most three lines at once, and one a second; "left
out" counts the others. One trace runs at a time.

With --json there is one object for each line.`,
		Example: "  sallyportd trace k7Qx\n  sallyportd trace k7Qx --for 30s --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := durations.Parse(lasts)
			if err == nil && (d < time.Second || d > admin.MaxTrace || d%time.Second != 0) {
				err = errors.New("out of range")
			}
			if err != nil {
				return cli.Misuse(fmt.Errorf("--for: expected whole seconds from 1s to %s, got %q", durations.Short(admin.MaxTrace), lasts))
			}
			cfg, err := loadOrLocate(path, func(text string) { env.Err().Warning(text, "") })
			if err != nil {
				return cli.Misuse(err)
			}
			if err := checkTraced(cfg, args[0]); err != nil {
				return cli.Misuse(err)
			}
			print := printTrace(env)
			if asJSON {
				print = func(l admin.TraceLine) error { return env.Out().JSON(l) }
			}
			asked := admin.Trace{Identifier: args[0], Seconds: int(d / time.Second)}
			return needServer(c.Context(), cfg, func(conn admin.Conn) error {
				return conn.Trace(c.Context(), asked, func(l admin.TraceLine) error {
					l.Hint = withConfig(l.Hint, path)
					return print(l)
				})
			})
		},
	}
	c.Flags().StringVar(&lasts, "for", durations.Short(defaultTrace), "end after this `time`; at most "+durations.Short(admin.MaxTrace))
	cli.AddJSONFlag(c, &asJSON)
	addConfigFlag(c, env, &path)
	return c
}

// checkTraced returns an error if nothing can have an identifier. The text is not in it,
// because it may be a secret.
func checkTraced(cfg *config.Config, identifier string) error {
	_, err := wire.ParseIdentifier(identifier)
	if err == nil || slices.ContainsFunc(cfg.Operations, func(o config.Operation) bool { return o.ID == identifier }) {
		return nil
	}
	return cli.WithHint(fmt.Errorf("%w; and no operation has this ID", err),
		"the identifiers and IDs: sallyportd client list; sallyportd operation list")
}

// printTrace returns a function that prints the lines of a trace for people. Each hint is
// printed once.
func printTrace(env cli.Env) func(admin.TraceLine) error {
	out, printed := env.Out(), map[string]bool{}
	columns := out.Columns(len(output.TimeFormat), len("SIGNED"), len("255.255.255.255"))
	hint := func(text string) error {
		if text == "" || printed[text] {
			return nil
		}
		printed[text] = true
		return out.Printf("  hint: %s\n", text)
	}
	return func(l admin.TraceLine) error {
		switch l.Event {
		case admin.TraceStarted:
			if err := out.Printf("tracing: %s\n", l.Text); err != nil {
				return err
			}
			return errors.Join(hint(l.Hint), columns.Print(output.Header("TIME", "SIGNED", "FROM", "WHAT")))
		case admin.TraceEnded:
			text := fmt.Sprintf("ended: %s", l.Text)
			if l.LeftOut > 0 {
				text += fmt.Sprintf("; %s left out", count(int(l.LeftOut), "line"))
			}
			return errors.Join(out.Printf("%s\n", text), hint(l.Hint))
		}
		signed, text := "no", l.Text
		if l.Authenticated {
			signed = "yes"
		}
		if l.LeftOut > 0 {
			text += fmt.Sprintf(" (%s like this left out before)", count(int(l.LeftOut), "line"))
		}
		from := ""
		if l.Source.IsValid() {
			from = access.AddressText(l.Source)
		}
		return errors.Join(columns.Print(output.Row(out.Time(l.Time), signed, from, text)), hint(l.Hint))
	}
}

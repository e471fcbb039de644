package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"sallyport/cmd/internal/output"
)

// Failure is what a command prints about an error.
type Failure struct {
	Error    string   `json:"error"`
	Reason   string   `json:"reason,omitempty"`
	Certain  []string `json:"certain,omitempty"` // the observations
	Likely   []string `json:"likely,omitempty"`  // their meaning, the likeliest first
	Hint     string   `json:"hint"`              // all of these and what to do, one on each line
	ExitCode int      `json:"exit_code"`

	advice string // the lines of the hint that are neither certain nor likely
}

// Explain returns what to print about an error. An error has a hint if it has the method
// Hint, a reason with ReasonCode, another exit code with
// FailureCode, and certain and likely lines with Diagnosis.
func Explain(err error) Failure {
	f := Failure{Error: err.Error(), ExitCode: Failed}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		f.Hint = strings.TrimSpace(hinted.Hint())
	}
	f.advice = f.Hint
	var coded interface{ ReasonCode() string }
	if errors.As(err, &coded) {
		f.Reason = coded.ReasonCode()
	}
	var diagnosed interface {
		Diagnosis() (certain, likely, advice []string)
	}
	if errors.As(err, &diagnosed) {
		certain, likely, advice := diagnosed.Diagnosis()
		f.Certain, f.Likely = certain, likely
		all := strings.Join(slices.Concat(certain, likely, advice), "\n")
		if f.Hint == all {
			f.advice = ""
		} else {
			f.Hint = strings.TrimSpace(f.Hint + "\n" + all)
		}
		f.advice = strings.TrimSpace(f.advice + "\n" + strings.Join(advice, "\n"))
	}
	var misuse interface{ Misuse() }
	if errors.As(err, &misuse) {
		f.ExitCode = Misused
	}
	var failed interface{ FailureCode() int }
	if errors.As(err, &failed) {
		f.ExitCode = failed.FailureCode()
	}
	return f
}

// failureOf returns what an error means for the command. If silent, the
// caller prints nothing: the command ran another program, and ends as that one did.
func failureOf(ctx context.Context, err error) (f Failure, silent bool) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return Failure{Error: "interrupted", ExitCode: Interrupted}, false
	}
	var quiet interface{ ExitCode() int }
	if errors.As(err, &quiet) {
		return Failure{ExitCode: quiet.ExitCode()}, true
	}
	return Explain(err), false
}

// Print prints the error for people: a line that begins with a label, such as the name of
// the program, a line for each observation and for each meaning of these, and a line for
// each of the other hints.
func (f Failure) Print(p *output.Printer, label string) {
	p.Labelled(output.Cell{Text: label, Colour: output.Red}, f.Error)
	for _, text := range f.Certain {
		p.Labelled(output.Cell{Text: "certain", Colour: output.Bold}, text)
	}
	for _, text := range f.Likely {
		p.Labelled(output.Cell{Text: "likely", Colour: output.Yellow}, text)
	}
	for line := range strings.Lines(f.advice) {
		p.Labelled(output.Cell{Text: "hint", Colour: output.Cyan}, strings.TrimSpace(line))
	}
}

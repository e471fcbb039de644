package main

import (
	"fmt"

	"sallyport/cmd/internal/output"
)

// severity is how much a finding matters.
type severity string

const (
	warning severity = "warning" // a likely mistake
	advice  severity = "advice"  // a setting that would show strangers less
)

// finding is what a check has found. The code names its kind, and does not
// change; the text does.
type finding struct {
	Severity severity `json:"severity"`
	Code     string   `json:"code"`
	Text     string   `json:"text"`
	Hint     string   `json:"hint"` // what to do; may be empty
}

// warn returns a warning with a hint.
func warn(code, hint, format string, args ...any) finding {
	return finding{warning, code, fmt.Sprintf(format, args...), hint}
}

// warnings makes findings of one kind of texts.
func warnings(code string, texts []string) []finding {
	var list []finding
	for _, text := range texts {
		list = append(list, finding{warning, code, text, ""})
	}
	return list
}

// printFinding prints a finding for people.
func printFinding(p *output.Printer, f finding) error {
	if f.Severity == advice {
		return p.Advice(f.Text, f.Hint)
	}
	return p.Warning(f.Text, f.Hint)
}

// printFindings prints findings for people.
func printFindings(p *output.Printer, list []finding) error {
	for _, f := range list {
		if err := printFinding(p, f); err != nil {
			return err
		}
	}
	return nil
}

// orEmpty returns a list that JSON shows as [] and not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// count returns a number with its noun: "1 client", "2 clients".
func count(n int, noun string) string { return plural(n, noun, noun+"s") }

// plural is count for a noun with another plural.
func plural(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

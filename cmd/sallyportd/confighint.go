package main

import (
	"errors"
	"log/slog"
	"regexp"
	"strings"

	"sallyport/cmd/internal/cli"
)

// ownCommand is a command of this program in a hint that needs the configuration: up
// to the quote after it, or the end of the phrase or sentence.
var ownCommand = regexp.MustCompile(
	`sallyportd (serve|check|status|health|watch|trace|reload|confirm|leases?|close|client|fleet-key|host-key|operation|port-secret|state|firewall)\b(?:[^"\n;,).]|\.[^"\s])*`)

// withConfig adds -c to the commands of this program in a hint, if the
// configuration is not the default one: without it they would use another one.
func withConfig(hint, path string) string {
	if path == "" || path == defaultConfig {
		return hint
	}
	return ownCommand.ReplaceAllStringFunc(hint, func(command string) string {
		if strings.Contains(command, " -c ") {
			return command
		}
		text := strings.TrimRight(command, " .")
		return text + " -c " + quoted(path) + command[len(text):]
	})
}

// quoted returns a path as a shell reads it.
func quoted(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@%") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// hintsFor returns an error with withConfig applied to its hint.
func hintsFor(path string, err error) error {
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) {
		return err
	}
	if text := hinted.Hint(); withConfig(text, path) != text {
		return cli.WithHint(err, withConfig(text, path))
	}
	return err
}

// findingsFor applies withConfig to the hints of findings.
func findingsFor(path string, list []finding) []finding {
	for i := range list {
		list[i].Hint = withConfig(list[i].Hint, path)
	}
	return list
}

// hintOf returns a function that applies withConfig to the hints of a log.
func hintOf(path string) func(slog.Attr) slog.Attr {
	return func(a slog.Attr) slog.Attr {
		if a.Key == "hint" {
			a.Value = slog.StringValue(withConfig(a.Value.String(), path))
		}
		return a
	}
}

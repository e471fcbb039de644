package main

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"sallyport/sessions/durable"
)

// sourceFormat is the first line of a configuration that is a copy: the path of its
// original, and a digest of the original's content.
const sourceFormat = "# Made by \"sallyportd init\" from %q; sha256 %x\n"

// sourceLine returns the line for a copy of a file with this text.
func sourceLine(from, text string) (string, error) {
	path, err := filepath.Abs(from)
	return fmt.Sprintf(sourceFormat, path, sha256.Sum256([]byte(text))), err
}

// changedSource returns the original of a configuration, if it has changed since it
// was copied. An edit there has no effect, which an administrator may not know: a
// container has both files.
func changedSource(path string) (from string, changed bool) {
	text, err := durable.ReadFile(path)
	if err != nil {
		return "", false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var digest []byte
	if n, err := fmt.Sscanf(line+"\n", sourceFormat, &from, &digest); n != 2 || err != nil {
		return "", false
	}
	original, err := durable.ReadFile(from)
	if err != nil {
		return "", false
	}
	now := sha256.Sum256(original)
	return from, string(now[:]) != string(digest)
}

// warnSource logs that the original of the configuration has changed.
func warnSource(path string, log *slog.Logger) {
	if from, changed := changedSource(path); changed {
		log.Warn("original of the configuration has changed", "file", from,
			"hint", "the server uses the copy; make the same change in "+path)
	}
}
